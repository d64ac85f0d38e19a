#!/bin/bash
# Runs inside the new root (chroot), after the overlay has been unpacked: what only the root's own
# programs can do.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
chown -R root:root /etc/lab /root /usr/local
passwd -d root > /dev/null
# What only costs time at boot, or moves things behind the operator's back.
mask=(
    drbd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer
    getty@tty1.service serial-getty@hvc0.service systemd-logind.service systemd-user-sessions.service
    systemd-timesyncd.service hwclock.service systemd-pstore.service systemd-binfmt.service
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service
    systemd-network-generator.service systemd-firstboot.service systemd-sysusers.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-flush.service
    systemd-udev-settle.service ssh.socket lvm2-monitor.service systemd-random-seed.service
    kmod-static-nodes.service modprobe@dm_mod.service
    systemd-tmpfiles-setup-dev.service systemd-remount-fs.service systemd-sysctl.service
    proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount sys-fs-fuse-connections.mount
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount
    dev-mqueue.mount modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service
    modprobe@fuse.service modprobe@loop.service
)
systemctl mask "${mask[@]}" > /dev/null 2>&1
# Only the folders in /run and /tmp that something needs.
find /usr/lib/tmpfiles.d -name '*.conf' ! -name drbd.conf ! -name lvm2.conf ! -name dbus.conf -delete
printf 'd /run/lock 1777 root root\nq /tmp 1777 root root\n' > /etc/tmpfiles.d/lab.conf
# Of the generators only the one that knows init scripts: xen and xendomains have no units.
mkdir -p /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
    case $generator in
        */systemd-sysv-generator) ;;
        *) ln -s /dev/null "/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done
systemctl enable lab-host.service > /dev/null 2>&1
systemctl set-default multi-user.target > /dev/null 2>&1
rm -f /etc/ssh/ssh_host_*
# The kernel command line gives each host its own machine-id; an empty file would mean "first boot".
echo 00000000000000000000000000000001 > /etc/machine-id
mkdir -p /etc/xen/disks /etc/xen/auto /var/lib/xen/save /var/lib/xen/dump /srv/guest /var/log/xen/console
printf 'virtio_pci\nvirtio_blk\next4\n' > /etc/initramfs-tools/modules
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=lz4/' /etc/initramfs-tools/initramfs.conf
rm -f /etc/initramfs-tools/conf.d/driver-policy
update-initramfs -u -k all
