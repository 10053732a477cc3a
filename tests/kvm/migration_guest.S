/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that finds lost writes: in pass n it writes n into every page of a stretch, and looks before whether n - 1 is
 * there. A page that a migration did not bring along in its last state shows in the next pass. Tells "." after each pass,
 * "X" and no more when a page is not as it was left. Loaded by QEMU as a multiboot kernel.
 */
#define FIRST   0x1000000 /* 16 MiB, above firmware and ourselves */
#define PAGES   20480     /* 80 MiB */
#define DEBUGCON 0xe9

	.code32
	.section .text
	.align 4
	.long 0x1badb002, 0, -0x1badb002 /* multiboot: magic, flags, checksum */
	.globl _start
_start:
	cli
	mov $FIRST, %edi /* the firmware has used some of it */
	mov $PAGES, %ecx
clear:
	movl $0, (%edi)
	add $4096, %edi
	dec %ecx
	jnz clear
	mov $1, %ebp
pass:
	mov $FIRST, %edi
	mov $PAGES, %ecx
page:
	mov (%edi), %eax
	inc %eax
	cmp %ebp, %eax
	jne bad
	mov %ebp, (%edi)
	add $4096, %edi
	dec %ecx
	jnz page
	inc %ebp
	mov $'.', %al
	outb %al, $DEBUGCON
	jmp pass
bad:
	mov $'X', %al
	outb %al, $DEBUGCON
stop:
	hlt
	jmp stop
