# Given: a port of 127.0.0.1. Gives: from a 64-bit program, on one connection, 32-bit calls by `int 0x80` whose numbers mean
# a read and a write to 64-bit programs, with arguments that would make requests of them; then a real request. Refuses to
# know: whether it is traced.

.globl _start
.text
_start:
    mov 16(%rsp), %rsi
    xor %eax, %eax
1:  movzbl (%rsi), %ecx
    test %ecx, %ecx
    jz 2f
    imul $10, %eax
    lea -48(%rax,%rcx), %eax
    inc %rsi
    jmp 1b
2:  xchg %al, %ah
    mov %ax, port

    mov $41, %eax               # socket
    mov $2, %edi
    mov $1, %esi
    xor %edx, %edx
    syscall
    mov %rax, %r12
    mov $42, %eax               # connect
    mov %r12, %rdi
    mov $address, %esi
    mov $16, %edx
    syscall
    test %rax, %rax
    jnz failed

    mov $45, %eax               # brk, to 64-bit programs recvfrom
    mov $invented, %esi
    call alias
    mov $20, %eax               # getpid, to 64-bit programs writev
    mov $vector, %esi
    call alias

    mov $1, %eax                # write
    mov %r12, %rdi
    mov $request, %esi
    mov $request_bytes, %edx
    syscall
3:  xor %eax, %eax              # read
    mov %r12, %rdi
    mov $room, %esi
    mov $room_bytes, %edx
    syscall
    test %rax, %rax
    jg 3b
    jl failed
    xor %edi, %edi
    mov $60, %eax
    syscall
failed:
    mov $1, %edi
    mov $60, %eax
    syscall

# The call in eax, with what a 64-bit call would take for socket and length.
alias:
    xor %ebx, %ebx
    xor %ecx, %ecx
    mov %r12, %rdi
    mov $invented_bytes, %edx
    int $0x80
    ret

.data
vector:   .quad invented, invented_bytes
address:  .short 2
port:     .short 0
          .byte 127, 0, 0, 1
          .quad 0
invented: .ascii "GET /invented HTTP/1.1\r\nHost: test\r\n\r\n"
.set invented_bytes, . - invented
request:  .ascii "GET /v1/compat HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
.set request_bytes, . - request
.bss
.set room_bytes, 65536
.lcomm room, room_bytes
