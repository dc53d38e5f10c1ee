/*
 * What TCP on this machine leaves to any server: requests of 48 bytes, answers of 48 + BYTES from 1 GiB of memory in order, without a copy of the
 * server's own, without SCSI and iSCSI; one connection, one thread at each end. Prints answers a second.
 *   tcp_limit BYTES DEPTH SECONDS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 48 };
static const size_t memory = 1UL << 30;
static size_t answer;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int all(int fd, char *bytes, size_t length, int out)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = out ? send(fd, bytes + done, length - done, MSG_NOSIGNAL) : recv(fd, bytes + done, length - done, 0);
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

static void *server(void *listener)
{
    int fd = accept(*(int *)listener, NULL, NULL), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    char *data = malloc(memory + answer), requests[HEADER * 256];
    memset(data, 1, memory + answer);
    size_t have = 0, at = 0;
    for (;;) {
        ssize_t n = recv(fd, requests + have, sizeof requests - have, 0);
        if (n <= 0) return NULL;
        have += (size_t)n;
        for (; have >= HEADER; have -= HEADER) {
            if (all(fd, data + at, answer, 1)) return NULL;
            at = (at + answer - HEADER) % memory;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) { fprintf(stderr, "usage: tcp_limit BYTES DEPTH SECONDS\n"); return 2; }
    answer = HEADER + strtoul(argv[1], NULL, 10);
    int depth = atoi(argv[2]), one = 1;
    double seconds = atof(argv[3]);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof a;
    if (bind(listener, (void *)&a, sizeof a) || getsockname(listener, (void *)&a, &length) || listen(listener, 1)) { perror("listen"); return 1; }
    pthread_t thread;
    pthread_create(&thread, NULL, server, &listener);
    if (connect(fd, (void *)&a, sizeof a)) { perror("connect"); return 1; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char *buffer = malloc(answer), request[HEADER] = { 0 };
    for (int i = 0; i < depth; i++) if (all(fd, request, HEADER, 1)) return 1;
    /* The first answer comes when the memory is there. */
    if (all(fd, buffer, answer, 0) || all(fd, request, HEADER, 1)) return 1;
    long count = 0;
    double start = now(), end = start;
    for (; end - start < seconds; end = now(), count++)
        if (all(fd, buffer, answer, 0) || all(fd, request, HEADER, 1)) return 1;
    printf("%.0f\n", (double)count / (end - start));
    return 0;
}
