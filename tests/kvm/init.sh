#!/bin/busybox sh
# Process 1 of a test's KVM host (host.sh): KVM up, the programs run, the exit status on the second serial line, the end.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/ CK_FORK="${CK_FORK:-yes}"
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t debugfs debug /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
ip link set lo up
stty -F /dev/ttyS1 115200 # Bochs takes the time that it would take
exec >/dev/ttyS1 2>&1
load() {
	insmod "/modules/$1.ko" $2 || echo "kvm-host: cannot load $1.ko"
}
load_kvm() { # OPTIONS
	load kvm "$1"
	load $vendor "$(cat /etc/kvm-vendor-options)"
	[ -e /dev/kvm ] || echo "kvm-host: there is no /dev/kvm"
	kvm-keeper || echo "kvm-host: the keeper does not run"
}
# What used the modules may take a moment to let them go.
load_again() { # OPTIONS
	kill "$(pidof kvm-keeper)"
	for _ in $(seq 300); do
		rmmod $vendor 2>/dev/null
		rmmod kvm 2>/dev/null && break
		sleep 0.1
	done
	load_kvm "$1"
}
status=77
end() {
	echo "kvm-host: exit status $status"
	sync
	# The serial line is drained before the machine goes.
	sleep 0.5
	reboot -f
}
run() { # COMMAND...
	local s
	"$@" </dev/null
	s=$?
	case $s in
	0) [ $status != 77 ] || status=0 ;;
	77) ;;
	*) status=$s ;;
	esac
	[ $s != 75 ] || end
}
load irqbypass
vendor=kvm-amd
grep -qw vmx /proc/cpuinfo && vendor=kvm-intel
load_kvm ""
cd /tmp
. /etc/commands
end
