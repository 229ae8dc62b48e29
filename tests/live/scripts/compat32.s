# Given: a port of 127.0.0.1. Gives: on one connection, 32-bit calls whose numbers mean reads and writes to 64-bit programs,
# with arguments that would make requests of them; then two real requests, one by socketcall, one by write and read.
# Refuses to know: whether it is traced. Assembled by `as --32`, linked by `ld -m elf_i386`.

.globl _start
.text
_start:
    mov 8(%esp), %esi
    xor %eax, %eax
1:  movzbl (%esi), %ecx
    test %ecx, %ecx
    jz 2f
    imul $10, %eax
    lea -48(%eax,%ecx), %eax
    inc %esi
    jmp 1b
2:  xchg %al, %ah
    mov %ax, port

    mov $1, %ebx                # socketcall(SYS_SOCKET)
    mov $domain, %ecx
    call socketcall
    mov %eax, fd
    mov %eax, connect
    mov %eax, moved
    mov $3, %ebx                # socketcall(SYS_CONNECT)
    mov $connect, %ecx
    call socketcall
    test %eax, %eax
    jnz failed

    mov $45, %eax               # brk, to 64-bit programs recvfrom
    call alias
    mov $20, %eax               # getpid, to 64-bit programs writev
    call alias
    mov $43, %eax               # times, to 64-bit programs accept
    call alias
    mov $47, %eax               # getgid, to 64-bit programs recvmsg
    call alias

    movl $first, moved + 4
    movl $first_bytes, moved + 8
    mov $9, %ebx                # socketcall(SYS_SEND)
    mov $moved, %ecx
    call socketcall
    movl $room, moved + 4
    movl $room_bytes, moved + 8
    mov $10, %ebx               # socketcall(SYS_RECV)
    mov $moved, %ecx
    call socketcall
    test %eax, %eax
    jle failed

    mov $4, %eax                # write
    mov fd, %ebx
    mov $second, %ecx
    mov $second_bytes, %edx
    int $0x80
3:  mov $3, %eax                # read
    mov fd, %ebx
    mov $room, %ecx
    mov $room_bytes, %edx
    int $0x80
    test %eax, %eax
    jg 3b
    jl failed
    xor %ebx, %ebx
    mov $1, %eax
    int $0x80
failed:
    mov $1, %ebx
    mov $1, %eax
    int $0x80

socketcall:
    mov $102, %eax
    int $0x80
    ret

# The call in eax, with what a 64-bit call would take for socket, buffer and length.
alias:
    xor %ebx, %ebx
    xor %ecx, %ecx
    mov fd, %edi
    mov $invented, %esi
    cmp $20, %eax
    jne 4f
    mov $vector, %esi
4:  mov $invented_bytes, %edx
    int $0x80
    ret

.data
domain:   .long 2, 1, 0
connect:  .long 0, address, 16
moved:    .long 0, 0, 0, 0
fd:       .long 0
vector:   .long invented, 0, invented_bytes, 0
address:  .short 2
port:     .short 0
          .byte 127, 0, 0, 1
          .quad 0
invented: .ascii "GET /invented HTTP/1.1\r\nHost: test\r\n\r\n"
.set invented_bytes, . - invented
first:    .ascii "GET /v1/compat/1 HTTP/1.1\r\nHost: test\r\n\r\n"
.set first_bytes, . - first
second:   .ascii "GET /v1/compat/2 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
.set second_bytes, . - second
.bss
.set room_bytes, 65536
.lcomm room, room_bytes
