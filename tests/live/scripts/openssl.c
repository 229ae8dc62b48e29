/* Given: a port, the certificate to trust, and paths. Gives: a GET of each on localhost, three on a connection, through
   OpenSSL on blocking sockets; at its first line of input it begins. Refuses to know: whether it is traced. */

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void need(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static SSL *connected(SSL_CTX *context, int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_tlsext_host_name(ssl, "localhost");
    need(SSL_connect(ssl) == 1, "handshake");
    return ssl;
}

static void get(SSL *ssl, int port, const char *path) {
    char text[4096], *body = NULL;
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost:%d\r\n\r\n", path, port);
    need(SSL_write(ssl, text, length) == length, "write");
    int head = 0;
    while (body == NULL && head < (int)sizeof text - 1) {
        int read = SSL_read(ssl, text + head, sizeof text - 1 - head);
        need(read > 0, "read the head");
        text[head += read] = 0;
        body = strstr(text, "\r\n\r\n");
    }
    need(body != NULL, "the end of the head");
    const char *field = strstr(text, "Content-Length: ");
    need(field != NULL && field < body, "Content-Length");
    long left = atol(field + 16) - (head - (body + 4 - text));
    while (left > 0) {
        int read = SSL_read(ssl, text, sizeof text);
        need(read > 0, "read the body");
        left -= read;
    }
}

int main(int count, char **arguments) {
    need(count > 3, "usage: PORT CERTIFICATE PATH...");
    int port = atoi(arguments[1]);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    need(SSL_CTX_load_verify_locations(context, arguments[2], NULL) == 1, "certificate");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    puts("ready");
    fflush(stdout);
    getchar();
    SSL *ssl = NULL;
    for (int index = 3; index < count; index++) {
        if ((index - 3) % 3 == 0)
            ssl = connected(context, port);
        get(ssl, port, arguments[index]);
        if ((index - 3) % 3 == 2 || index == count - 1) {
            int fd = SSL_get_fd(ssl);
            SSL_shutdown(ssl);
            SSL_free(ssl);
            close(fd);
        }
    }
    return 0;
}
