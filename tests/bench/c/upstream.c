/* The upstream of the bench: canned answers in ImageRouter's shape, so quick that it is never what is measured.
 *
 *     upstream [--port N] [--tls CERTIFICATE KEY]      prints "listening PORT" once it takes connections
 *
 * One thread, epoll, HTTP/1.1 with keep-alive, bodies by Content-Length (read to their end before anything is
 * answered). What is answered stands in the request's model, and once more at the beginning of its input, since these
 * cross every gateway unchanged:
 *
 *     bench/j200                one JSON object with a text of 200 bytes
 *     bench/e500-p20000-s40     a stream of 500 delta events of 40 bytes, 20,000 µs apart; p0 = without pause
 *     bench/e500-p0-s40-b16     the same, 16 events in one write
 *
 * Each delta begins "@STAMP.INDEX ": the nanosecond of CLOCK_MONOTONIC at which it was due (without pause: at which it
 * was written) and its number in the stream. A stream's first event is due somewhere within its first pause, so that
 * streams opened together do not speak in chorus; a late one is stamped with when it was due, so that nobody's
 * slowness is forgiven. A GET is answered with a list of one model.
 */
#include "answers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef BENCH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
static SSL_CTX *tls;
#endif

#define IN_BYTES 65536
#define MODEL_SEEN 512   /* so far into a body its model is looked for */
#define AT_ONCE 8 /* writes of a stream without pause, before others have their turn */

struct connection {
    int fd;
    uint32_t generation;
#ifdef BENCH_TLS
    SSL *ssl;
    bool shaken;
#endif
    char in[IN_BYTES];
    size_t in_length;
    uint64_t body_left;
    bool in_body, busy, running, drained;
    char seen[MODEL_SEEN];
    size_t seen_length;
    struct wanted wanted;
    uint64_t serial;
    uint32_t next; /* event */
    uint64_t due;
    char front[FRONT_BYTES];
    struct iovec out[2];
    char *rest; /* of an event that the socket did not take whole */
    size_t rest_length, rest_sent;
    struct connection *later; /* in the row of those that write without pause */
};

struct due {
    uint64_t at;
    int fd;
    uint32_t generation;
};

static int poll_fd, timer_fd;
static struct connection *connections[1 << 16];
static struct due *heap;
static size_t heap_length, heap_room;
static uint64_t timer_set; /* when it goes off; 0 = never */
static struct connection *first_running, **last_running = &first_running;
static uint64_t serial_of_all;
static char event[EVENT_BYTES_MAX * 2];

/* --- bytes in and out ------------------------------------------------------------------------------------------- */

static ssize_t receive(struct connection *one, void *into, size_t room) {
#ifdef BENCH_TLS
    if (one->ssl) {
        ERR_clear_error();
        int count = SSL_read(one->ssl, into, (int)room);
        if (count > 0) return count;
        int why = SSL_get_error(one->ssl, count);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
            errno = EAGAIN;
            return -1;
        }
        return 0;
    }
#endif
    return read(one->fd, into, room);
}

static ssize_t transmit(struct connection *one, const void *bytes, size_t count) {
#ifdef BENCH_TLS
    if (one->ssl) {
        ERR_clear_error();
        int sent = SSL_write(one->ssl, bytes, count > 1 << 30 ? 1 << 30 : (int)count);
        if (sent > 0) return sent;
        int why = SSL_get_error(one->ssl, sent);
        errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
        return -1;
    }
#endif
    return send(one->fd, bytes, count, MSG_NOSIGNAL);
}

static void close_connection(struct connection *one) {
    connections[one->fd] = NULL;
#ifdef BENCH_TLS
    if (one->ssl) SSL_free(one->ssl);
#endif
    close(one->fd);
    free(one->rest);
    one->rest = NULL;
    one->fd = -1;
    if (!one->running) free(one); /* else the row frees it when it comes to it */
}

/* --- streams ---------------------------------------------------------------------------------------------------- */

static void push_due(uint64_t at, struct connection *one) {
    if (heap_length == heap_room) {
        heap_room = heap_room ? heap_room * 2 : 1024;
        heap = realloc(heap, heap_room * sizeof *heap);
        if (heap == NULL) die("out of memory");
    }
    size_t place = heap_length++;
    for (; place && heap[(place - 1) / 2].at > at; place = (place - 1) / 2) heap[place] = heap[(place - 1) / 2];
    heap[place] = (struct due){at, one->fd, one->generation};
}

static void pop_due(void) {
    struct due last = heap[--heap_length];
    size_t place = 0;
    for (;;) {
        size_t child = place * 2 + 1;
        if (child >= heap_length) break;
        if (child + 1 < heap_length && heap[child + 1].at < heap[child].at) child++;
        if (heap[child].at >= last.at) break;
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = last;
}

static void run_soon(struct connection *one) {
    if (one->running) return;
    one->running = true;
    one->later = NULL;
    *last_running = one;
    last_running = &one->later;
}

/* Its next write is due, or is made in turn. (While a rest waits for the socket, neither.) */
static void write_on(struct connection *one) {
    if (one->wanted.pause_ns) push_due(one->due, one);
    else run_soon(one);
}

/* Sends, and keeps what the socket does not take; false = the connection is gone. */
static bool send_event(struct connection *one, const char *bytes, size_t length) {
    ssize_t sent = transmit(one, bytes, length);
    if (sent < 0 && errno != EAGAIN) {
        close_connection(one);
        return false;
    }
    size_t took = sent < 0 ? 0 : (size_t)sent;
    if (took < length) {
        one->rest = made(length - took);
        memcpy(one->rest, bytes + took, length - took);
        one->rest_length = length - took;
        one->rest_sent = 0;
    }
    return true;
}

static void begin_stream(struct connection *one) {
    one->next = 0;
    uint64_t phase = (uint32_t)(one->serial * 0x9e3779b9ull); /* golden steps: evenly spread, however many */
    one->due = now_ns() + (uint64_t)((double)one->wanted.pause_ns * (double)phase / 4294967296.0);
    char *end = first_events(event, id_of(one->serial));
    if (send_event(one, event, (size_t)(end - event)) && !one->rest) write_on(one);
}

/* One write of a stream: a delta, several, or its end. False = the connection is gone. */
static bool write_next(struct connection *one) {
    char *at = event;
    unsigned long long id = id_of(one->serial);
    bool paused = one->wanted.pause_ns > 0;
    uint64_t stamp = paused ? one->due : now_ns();
    for (uint32_t i = 0; i < one->wanted.burst && one->next < one->wanted.events; i++) {
        at = delta_event(at, id, one->next, one->wanted.text, stamp);
        one->next++;
        if (at - event > EVENT_BYTES_MAX) break;
    }
    if (at == event) {
        at = last_events(at, id, one->next, &one->wanted);
        one->busy = false;
    }
    one->due += one->wanted.pause_ns;
    return send_event(one, event, (size_t)(at - event));
}

static void serve(struct connection *one);

static void run_paused(void) {
    uint64_t at = now_ns();
    while (heap_length && heap[0].at <= at) {
        struct due top = heap[0];
        pop_due();
        struct connection *one = connections[top.fd];
        if (one == NULL || one->generation != top.generation || !one->busy) continue;
        if (!write_next(one)) continue;
        if (!one->busy) serve(one);
        else if (!one->rest) write_on(one); /* else when the socket takes more */
    }
}

static void run_unpaused(void) {
    struct connection *row = first_running;
    first_running = NULL;
    last_running = &first_running;
    while (row) {
        struct connection *one = row;
        row = one->later;
        one->running = false;
        if (one->fd < 0) {
            free(one);
            continue;
        }
        bool there = true;
        for (int i = 0; there && one->busy && !one->rest && i < AT_ONCE; i++) {
            one->running = true; /* so that a close does not free it under us */
            there = write_next(one);
            one->running = false;
        }
        if (!there) free(one);
        else if (!one->busy) serve(one);
        else if (!one->rest) write_on(one);
    }
}

/* --- requests --------------------------------------------------------------------------------------------------- */

/* Sends what is left of a plain answer; false = not all of it went out (or the connection is gone). */
static bool flush_plain(struct connection *one) {
    while (one->out[0].iov_len + one->out[1].iov_len) {
        ssize_t sent;
        bool scattered = one->out[0].iov_len && one->out[1].iov_len;
#ifdef BENCH_TLS
        scattered = scattered && !one->ssl;
#endif
        if (scattered) {
            struct msghdr message = {.msg_iov = one->out, .msg_iovlen = 2};
            sent = sendmsg(one->fd, &message, MSG_NOSIGNAL);
        } else {
            struct iovec *part = one->out[0].iov_len ? &one->out[0] : &one->out[1];
            sent = transmit(one, part->iov_base, part->iov_len);
        }
        if (sent < 0) {
            if (errno != EAGAIN) close_connection(one);
            return false;
        }
        for (int i = 0; i < 2; i++) {
            size_t took = (size_t)sent < one->out[i].iov_len ? (size_t)sent : one->out[i].iov_len;
            one->out[i].iov_base = (char *)one->out[i].iov_base + took;
            one->out[i].iov_len -= took;
            sent -= (ssize_t)took;
        }
    }
    one->busy = false;
    return true;
}

/* One write for what is small, also under TLS: two records would be two packets. It has a cost of its own, too. */
static void join_small(struct connection *one) {
    size_t front = one->out[0].iov_len, back = one->out[1].iov_len;
    if (front + back > FRONT_BYTES) return;
    memcpy(one->front + front, one->out[1].iov_base, back);
    put_cost(one->front + front + back, id_of(one->serial));
    one->out[0].iov_len = front + back;
    one->out[1].iov_len = 0;
}

static void answer(struct connection *one) {
    one->busy = true;
    one->serial = ++serial_of_all;
    one->wanted = wanted_by(one->seen, one->seen_length);
    if (one->wanted.stream) {
        begin_stream(one);
        return;
    }
    struct tail *tail = tail_of(one->wanted.text);
    one->out[0] = (struct iovec){one->front, json_front(one->front, tail, id_of(one->serial))};
    one->out[1] = (struct iovec){tail->bytes, tail->length};
    join_small(one);
    flush_plain(one);
}

static void answer_list(struct connection *one) {
    static const char list[] = "[{\"id\":\"bench/model\",\"architecture\":{\"input_modalities\":[\"text\"],"
        "\"output_modalities\":[\"text\"]},\"pricing\":{\"prompt\":\"0.000001\",\"completion\":\"0.000002\"}}]";
    one->busy = true;
    int length = sprintf(one->front, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        sizeof list - 1, list);
    one->out[0] = (struct iovec){one->front, (size_t)length};
    one->out[1].iov_len = 0;
    flush_plain(one);
}

/* Reads a head from what has come; false = it is not whole, or is one that we do not serve. */
static bool read_head(struct connection *one) {
    char *end = memmem(one->in, one->in_length, "\r\n\r\n", 4);
    if (end == NULL) {
        if (one->in_length == IN_BYTES) close_connection(one);
        return false;
    }
    size_t head = (size_t)(end - one->in) + 4;
    uint64_t length = 0;
    for (char *line = memchr(one->in, '\n', head); line && line < end; line = memchr(line + 1, '\n', (size_t)(end + 2 - line - 1))) {
        if (strncasecmp(line + 1, "content-length:", 15) == 0) length = strtoull(line + 16, NULL, 10);
        if (strncasecmp(line + 1, "transfer-encoding:", 18) == 0) {
            close_connection(one);
            return false;
        }
    }
    one->in_body = true;
    one->body_left = length;
    one->seen_length = 0;
    bool get = one->in[0] == 'G';
    one->in_length -= head;
    memmove(one->in, one->in + head, one->in_length);
    if (get) {
        one->in_body = false;
        answer_list(one);
        return false;
    }
    return true;
}

/* Takes from what has come what belongs to the body; true = that is all of it. */
static bool take_body(struct connection *one) {
    size_t count = one->in_length < one->body_left ? one->in_length : (size_t)one->body_left;
    size_t seen = MODEL_SEEN - one->seen_length;
    seen = seen < count ? seen : count;
    memcpy(one->seen + one->seen_length, one->in, seen);
    one->seen_length += seen;
    one->body_left -= count;
    one->in_length -= count;
    memmove(one->in, one->in + count, one->in_length);
    return one->body_left == 0;
}

static void serve(struct connection *one) {
    int fd = one->fd;
    uint32_t generation = one->generation;
    while (!one->busy) {
        if (one->in_length) {
            if (one->in_body || read_head(one)) {
                if (take_body(one)) {
                    one->in_body = false;
                    answer(one);
                }
            }
            if (connections[fd] != one || one->generation != generation) return;
            if (one->busy || (one->in_length && !one->in_body && memmem(one->in, one->in_length, "\r\n\r\n", 4))) continue;
        }
        if (one->drained) return;
        ssize_t count = receive(one, one->in + one->in_length, IN_BYTES - one->in_length);
        if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
            close_connection(one);
            return;
        }
        if (count > 0) one->in_length += (size_t)count;
        bool plain = true;
#ifdef BENCH_TLS
        plain = one->ssl == NULL;
#endif
        /* A short read has emptied the socket: the next bytes come with an event of their own (epoll(7)). */
        if (count < 0 || (plain && one->in_length < IN_BYTES)) one->drained = true;
    }
}

/* The socket takes bytes again. */
static void go_on(struct connection *one) {
    if (one->rest) {
        ssize_t sent = transmit(one, one->rest + one->rest_sent, one->rest_length - one->rest_sent);
        if (sent < 0) {
            if (errno != EAGAIN) close_connection(one);
            return;
        }
        one->rest_sent += (size_t)sent;
        if (one->rest_sent < one->rest_length) return;
        free(one->rest);
        one->rest = NULL;
        if (one->busy) write_on(one);
        else serve(one);
    } else if (one->busy && !one->wanted.stream && flush_plain(one)) {
        serve(one);
    }
}

static void take_connections(int listening) {
    static uint32_t generations;
    for (;;) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= 1 << 16) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *one = made(sizeof *one);
        one->fd = fd;
        one->generation = ++generations;
        connections[fd] = one;
#ifdef BENCH_TLS
        if (tls) {
            one->ssl = SSL_new(tls);
            SSL_set_fd(one->ssl, fd);
            SSL_set_accept_state(one->ssl);
        }
#endif
        struct epoll_event wish = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &wish);
    }
}

static void happened(int fd, uint32_t events) {
    struct connection *one = connections[fd];
    if (one == NULL) return;
    uint32_t generation = one->generation;
    if (events & EPOLLOUT) go_on(one);
    if (connections[fd] != one || one->generation != generation) return;
    if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) && one->busy) {
        close_connection(one); /* nobody reads on */
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) {
        one->drained = false;
        serve(one);
    }
}

static void set_timer(void) {
    uint64_t at = heap_length ? heap[0].at : 0;
    if (at == timer_set) return;
    timer_set = at;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void loop(int listening) {
    static struct epoll_event found[1024];
    for (;;) {
        set_timer();
        int count = epoll_wait(poll_fd, found, 1024, first_running ? 0 : -1);
        for (int i = 0; i < count; i++) {
            int fd = found[i].data.fd;
            if (fd == listening) take_connections(listening);
            else if (fd == timer_fd) {
                uint64_t times;
                (void)!read(timer_fd, &times, sizeof times);
                timer_set = 0;
            } else happened(fd, found[i].events);
        }
        run_paused();
        run_unpaused();
    }
}

static int listen_at(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 8192)) die("port %d: %s", port, strerror(errno));
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void begin_tls(const char *certificate, const char *key) {
#ifdef BENCH_TLS
    tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        die("certificate or key cannot be used");
#else
    (void)certificate, (void)key;
    die("built without TLS");
#endif
}

int main(int count, char **arguments) {
    int port = 0;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--port") == 0 && i + 1 < count) port = atoi(arguments[++i]);
        else if (strcmp(arguments[i], "--tls") == 0 && i + 2 < count) {
            begin_tls(arguments[i + 1], arguments[i + 2]);
            i += 2;
        } else die("usage: upstream [--port N] [--tls CERTIFICATE KEY]");
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    begin_answers();
    serial_of_all = (uint64_t)time(NULL) << 32; /* no id is given twice, also not by the next run */
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listening = listen_at(port);
    struct epoll_event wish = {.events = EPOLLIN, .data.fd = listening};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listening, &wish);
    wish.data.fd = timer_fd;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &wish);
    loop(listening);
}
