#!/bin/sh
# How domains are moved by hand, run on the source: by_hand.sh seed|dual|cold TARGET_ADDRESS
# seed: steps 6 to 17 of the post on xen-devel of 28 April 2005; dual: DRBD primary on both sides for the length of a
# migration, as is done today; cold: the disks copied while the domain is down (destroyed: no time to shut down).
set -eu
way=$1 target=$2
there() { ssh -o BatchMode=yes "root@$target" "$1"; }

METADATA='for v in root data; do
    lvcreate -qq -y -Wy -Zy -L 4m -n web1-$v-drbdmd vg
    dd if=/dev/zero of=/dev/vg/web1-$v-drbdmd bs=1M count=4 oflag=direct status=none
done
drbdadm -- --force create-md web1 >/dev/null 2>&1
drbdadm up web1'
TO_DRBD='ln -sfn /dev/drbd150 /etc/xen/disks/web1-root; ln -sfn /dev/drbd151 /etc/xen/disks/web1-data'
TO_VOLUMES='ln -sfn /dev/vg/web1-root /etc/xen/disks/web1-root; ln -sfn /dev/vg/web1-data /etc/xen/disks/web1-data'
VOLUMES="$(for v in root data; do
    echo "lvcreate -qq -y -Wy -Zy -L $(blockdev --getsize64 /dev/vg/web1-$v)b -n web1-$v vg;"
done)"
CLEAR='lvremove -qq -y vg/web1-root vg/web1-data; rm -f /etc/xen/web1.cfg /etc/xen/auto/web1.cfg /etc/xen/disks/web1-*'

attach() { # steps 6 to 9
    xl save web1 /var/tmp/web1.img
    sh -ec "$METADATA"
    drbdadm primary --force web1
    sh -ec "$TO_DRBD"
    xl restore /var/tmp/web1.img
    rm /var/tmp/web1.img
}

mirror() { # steps 10 to 12
    there "$VOLUMES $METADATA; $TO_DRBD"
    scp -q -B /etc/xen/web1.cfg "root@$target:/etc/xen/web1.cfg"
    while [ "$(drbdsetup events2 --now --statistics web1 |
        grep -c 'replication:Established peer-disk:UpToDate')" != 2 ]; do sleep 0.5; done
}

off_drbd() {
    drbdadm down web1
    lvremove -qq -y vg/web1-root-drbdmd vg/web1-data-drbdmd
    sh -ec "$CLEAR"
}

case $way in
seed)
    attach
    mirror
    xl save web1 /var/tmp/web1.img
    scp -q -B /var/tmp/web1.img "root@$target:/var/tmp/web1.img"
    drbdadm secondary web1
    there "drbdadm down web1; $TO_VOLUMES; xl restore /var/tmp/web1.img"
    off_drbd
    there 'rm /var/tmp/web1.img; lvremove -qq -y vg/web1-root-drbdmd vg/web1-data-drbdmd' ;;
dual)
    attach
    mirror
    began=$(date +%s%3N)
    there 'drbdadm primary web1'
    xl migrate -s 'ssh -o BatchMode=yes' web1 "root@$target"
    drbdadm secondary web1
    echo "two primaries for $(($(date +%s%3N) - began)) ms"
    off_drbd ;;
cold)
    there "$VOLUMES $TO_VOLUMES"
    scp -q -B /etc/xen/web1.cfg "root@$target:/etc/xen/web1.cfg"
    xl destroy web1
    for v in root data; do
        dd if=/dev/vg/web1-$v bs=1M status=none |
            ssh -o BatchMode=yes "root@$target" "dd of=/dev/vg/web1-$v bs=1M conv=fsync status=none"
    done
    there 'xl create /etc/xen/web1.cfg'
    sh -ec "$CLEAR" ;;
esac
