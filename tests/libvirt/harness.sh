# SPDX-License-Identifier: Apache-2.0
# A libvirtd of the test's own, with guests of type qemu. Source it; everything is in $HV_DIR and goes with hv_stop.
#
# libvirtd gets a mount namespace of its own with folders of ours over /run, /var and /etc/libvirt: the machine's own
# libvirt, if it has one, is neither seen nor touched. The lists of users and groups are its own as well: its QEMU driver
# does not start where nobody is called libvirt-qemu, though nothing here runs as that user, and the package that makes
# it is not needed otherwise. Its files are seen from outside below $HV_DIR:
#   $HV_URI      for clients (libvirt: uri)
#   $HV_PID_DIR  its domains' pid files (libvirt: pid_dir)
# A guest is Debian's cloud kernel with the workload of tests/guest as process 1, 256 MiB, memory as libvirt makes it by
# default (QEMU marks it mergeable). Its control line is a socket, so that it outlives libvirtd.
#
# HV_TOOL has to name the program hv-tool.

HV_KERNEL=$(printf "%s\n" /boot/vmlinuz-*-cloud-amd64 | sort -V | tail -1)
HV_GUEST_HUGE=${HV_GUEST_HUGE:-40} # the workload's huge pages: 80 of the 256 MiB
HV_RAM_MIB=${HV_RAM_MIB:-256}

hv_say() { echo "$(date +%T.%3N) $*"; }
hv_fail() {
	hv_say "FAILED: $*" >&2
	exit 1
}

# What is missing here, on standard output; status 1: nothing is.
hv_lacks() {
	local p
	[ "$(id -u)" = 0 ] || { echo "a mount namespace and other processes' memory need root"; return 0; }
	for p in libvirtd virsh qemu-system-x86_64 unshare curl; do
		PATH=$PATH:/usr/sbin command -v "$p" >/dev/null || { echo "no $p"; return 0; }
	done
	[ -r "$HV_KERNEL" ] || { echo "no kernel /boot/vmlinuz-*-cloud-amd64"; return 0; }
	unshare -m true 2>/dev/null || { echo "no mount namespaces"; return 0; }
	return 1
}

hv_virsh() { virsh -q -c "$HV_URI" "$@"; }

# Waits until the command succeeds: hv_until SECONDS WHAT COMMAND...
hv_until() {
	local seconds=$1 what=$2 end
	shift 2
	end=$(($(date +%s%3N) + seconds * 1000))
	until "$@"; do
		[ "$(date +%s%3N)" -lt $end ] || hv_fail "not within $seconds s: $what"
		sleep 0.1
	done
}

hv_prepare() {
	HV_DIR=$(mktemp -d /tmp/hs-libvirt.XXXXXX)
	HV_URI="qemu:///system?socket=$HV_DIR/run/libvirt/libvirt-sock"
	HV_PID_DIR=$HV_DIR/run/libvirt/qemu
	mkdir -p "$HV_DIR"/{run/libvirt,run/lock,var/lib/libvirt,var/log/libvirt,var/cache/libvirt,var/tmp,etc/qemu}
	ln -s /run "$HV_DIR/var/run"
	# The machine's users and groups, and those that libvirtd asks for; only names are looked up.
	cp /etc/passwd /etc/group "$HV_DIR/etc/"
	getent group libvirt-qemu >/dev/null || echo "libvirt-qemu:x:$(getent group nogroup | cut -d: -f3):" >>"$HV_DIR/etc/group"
	getent passwd libvirt-qemu >/dev/null ||
		echo "libvirt-qemu:x:$(id -u nobody):$(id -g nobody)::/nonexistent:/usr/sbin/nologin" >>"$HV_DIR/etc/passwd"
	cat >"$HV_DIR/etc/libvirtd.conf" <<-END
		unix_sock_group = "root"
		unix_sock_rw_perms = "0700"
		auth_unix_ro = "none"
		auth_unix_rw = "none"
		log_outputs = "3:stderr"
	END
	# User and group root: otherwise /dev/kvm is probed anew at each call. The rest is not needed here.
	cat >"$HV_DIR/etc/qemu.conf" <<-END
		user = "root"
		group = "root"
		dynamic_ownership = 0
		remember_owner = 0
		security_driver = "none"
		namespaces = []
		cgroup_controllers = []
		stdio_handler = "file"
	END
	"$HV_TOOL" initramfs "$HV_DIR/initramfs" || hv_fail "no initramfs"
}

# Starts libvirtd, again if it was killed: its guests go on, and it finds them.
hv_libvirtd_start() {
	PATH=$PATH:/usr/sbin unshare -m --propagation private sh -c '
		for f in passwd group; do mount --bind "$1/etc/$f" /etc/$f || exit 1; done
		mount --bind "$1/run" /run && mount --bind "$1/var" /var && mount --bind "$1/etc" /etc/libvirt || exit 1
		exec libvirtd' sh "$HV_DIR" >>"$HV_DIR/libvirtd.log" 2>&1 </dev/null &
	HV_LIBVIRTD=$!
	hv_until 60 "libvirtd answers" hv_answers
}

hv_answers() {
	kill -0 "$HV_LIBVIRTD" 2>/dev/null || { tail -5 "$HV_DIR/libvirtd.log" >&2; hv_fail "libvirtd ended"; }
	hv_virsh list >/dev/null 2>&1
}

# hv_libvirtd_kill [SIGNAL]
hv_libvirtd_kill() {
	kill "-${1:-KILL}" "$HV_LIBVIRTD"
	wait "$HV_LIBVIRTD" 2>/dev/null || true
	HV_LIBVIRTD=
}

# hv_define NAME SEED [ELEMENT of <domain>...]
hv_define() {
	local name=$1 seed=$2
	shift 2
	cat >"$HV_DIR/$name.xml" <<-END
		<domain type='qemu'>
		  <name>$name</name>
		  <memory unit='MiB'>$HV_RAM_MIB</memory>
		  <vcpu>1</vcpu>
		  <os>
		    <type arch='x86_64' machine='q35'>hvm</type>
		    <kernel>$HV_KERNEL</kernel>
		    <initrd>$HV_DIR/initramfs</initrd>
		    <cmdline>$("$HV_TOOL" append "$seed" "$HV_GUEST_HUGE")</cmdline>
		  </os>
		  <features><acpi/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
		  <on_reboot>destroy</on_reboot>
		  <on_crash>destroy</on_crash>
		  <devices>
		    <emulator>$(command -v qemu-system-x86_64)</emulator>
		    <serial type='file'><source path='$HV_DIR/$name.console'/></serial>
		    <serial type='unix'><source mode='bind' path='$HV_DIR/$name.control'/><target port='1'/></serial>
		    <controller type='usb' model='none'/>
		    <memballoon model='none'/>
		  </devices>
		  $*
		</domain>
	END
	hv_virsh define "$HV_DIR/$name.xml" >/dev/null || hv_fail "domain $name cannot be defined"
}

hv_start() { hv_virsh start "$1" >/dev/null || { tail -5 "$HV_DIR/libvirtd.log" >&2; hv_fail "$1 does not start"; }; }
hv_destroy() { hv_virsh destroy "$1" >/dev/null; }
hv_pid() { cat "$HV_PID_DIR/$1.pid"; }

# hv_ask GUEST COMMAND: the workload's answer, an object of JSON
hv_ask() { "$HV_TOOL" ask "$HV_DIR/$1.control" "$2" "${3:-60}"; }
hv_answers_guest() { hv_ask "$1" stats 2 >/dev/null 2>&1; }
hv_ready() { hv_until 120 "guest $1 is ready" hv_answers_guest "$1"; }

# The guest reads and compares all of its memory.
hv_verify() {
	local answer
	answer=$(hv_ask "$1" verify) || hv_fail "guest $1 does not answer"
	case $answer in
	*'"bad_pages":0,'*) ;;
	*) hv_fail "guest $1 was harmed: $answer" ;;
	esac
}

# Ends all and leaves nothing behind. For a trap on EXIT.
hv_stop() {
	local f pid
	[ -n "${HV_DIR:-}" ] || return 0
	[ -z "${HV_LIBVIRTD:-}" ] || hv_libvirtd_kill TERM
	# The guests' processes by their pid files, when it is theirs: they outlive libvirtd.
	for f in "$HV_PID_DIR"/*.pid; do
		[ -r "$f" ] && pid=$(cat "$f") || continue
		grep -qs "$HV_DIR/" "/proc/$pid/cmdline" || continue
		kill -KILL "$pid"
		while [ -d "/proc/$pid" ] && ! grep -qs '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
	done
	rm -rf "$HV_DIR"
	HV_DIR=
}
