#!/bin/sh
# The first program of a virtual machine: mounts the files of the host read-only, with a layer of memory above them for
# what is written, runs the job that the kernel's command line names, and says on the second serial port how it ended.
export PATH=/bin HOME=/root TERM=dumb
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for word in $(cat /proc/cmdline); do
    case $word in
        rotrace.job=*) job=${word#*=} ;;
        rotrace.out=*) out=/dev/${word#*=} ;;
        rotrace.log=*) log=/dev/${word#*=} ;;
        rotrace.stand_in=*) stand_in=${word#*=} ;;
    esac
done
exec < /dev/null > "$log" 2>&1

give_up() {
    echo "vm: cannot $1"
    echo "vm: status 125"
    poweroff -f
}

for module in /modules/*.ko; do
    insmod "$module" || echo "vm: no module $module"
done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose,access=any host /host || give_up "mount the host's files"
mount -t tmpfs -o size=75% none /memory
mkdir -p /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work none /root || give_up "mount a layer above them"
cd /root || give_up "enter it"
mkdir -p dev proc sys run tmp
mount -t devtmpfs none dev
mkdir -p dev/pts dev/shm
mount -t devpts none dev/pts
mount -t tmpfs none dev/shm
ln -sf /proc/self/fd dev/fd
mount -t proc none proc
mount -t sysfs none sys
mount -t tmpfs none run
mount -t debugfs none sys/kernel/debug
mount -t tracefs none sys/kernel/tracing
mount -t bpf none sys/fs/bpf
mount -t cgroup2 none sys/fs/cgroup
# The processor is some forty times slower than a real one and the clock is not: a thread that may run for 3 ms would be
# taken off in the middle of what takes a real one 100 µs.
slice=sys/kernel/debug/sched/base_slice_ns
[ ! -e $slice ] || echo 100000000 > $slice
ip link set lo up
echo "vm: up after $(cat /proc/uptime)"
# Where the host's programs are of another architecture, busybox stands in for these.
for name in $(echo "$stand_in" | tr , ' '); do
    cp -f /bin/busybox "bin/$name" || give_up "stand in for $name"
done
stty -F "$out" raw -echo
chroot /root /bin/sh "$job" < /dev/null > "$out" 2>&1
status=$?
kill -9 -1
# The last close of the port waits until all has been sent.
exec 5> "$out"
exec 5>&-
echo "vm: status $status"
sleep 0.1
poweroff -f
