#!/bin/bash
# Runs inside the new root (chroot), after the overlay has been unpacked: what only the root's own
# programs can do.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
chown -R root:root /etc/lab /root /usr/local
passwd -d root > /dev/null
systemctl mask drbd.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer dpkg-db-backup.timer getty@tty1.service systemd-timesyncd.service \
    hwclock.service systemd-pstore.service \
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service > /dev/null
systemctl enable lab-host.service systemd-udev-settle.service > /dev/null 2>&1
rm -f /etc/ssh/ssh_host_* /etc/machine-id
echo uninitialized > /etc/machine-id
mkdir -p /etc/xen/disks /etc/xen/auto /var/lib/xen/save /var/lib/xen/dump /srv/guest /var/log/xen/console
printf 'virtio_pci\nvirtio_blk\next4\n' > /etc/initramfs-tools/modules
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=lz4/' /etc/initramfs-tools/initramfs.conf
rm -f /etc/initramfs-tools/conf.d/driver-policy
update-initramfs -u -k all
