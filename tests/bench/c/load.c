/* The load of the bench: N connections that ask in a closed loop, judge every answer, and tell what they saw as JSON.
 *
 *     load --port P --connections N --seconds S --warm W --body FILE --keys FILE [--path /v1/openai/responses]
 *          [--events E] [--bytes B] [--rate R] [--spread S] [--volley [--fresh]] [--hold] [--header LINE ...]
 *          [--watch PID ...]
 *
 * One thread, epoll, keep-alive. FILE of --keys: a bearer key a line, dealt out in turn. --events: every answer is a
 * stream of exactly so many delta events of our upstream, in order, and its completed event. --bytes: every answer has
 * exactly so long a body; without either it must be a JSON object. An answer that is refused, short or odd is counted
 * as failed, whenever it comes; whoever reads the result says what a window with failures is worth.
 *
 * --rate: so many requests a second in all, each timed from when it was due (a closed loop would ask less of a slow
 * subject). --spread: the first requests of the connections are spread over S seconds; else, without --rate, all ask in
 * one moment, and streams of one length go on ending and beginning together. --volley: all connections ask in the same
 * instant, and again when the last is answered; --fresh: each time over new connections, whose making is part of the
 * time. --hold: opens a stream on each, says "held N COMPLAINT" when each has had its first byte, and ends at the end of
 * its input.
 *
 * After --warm the window begins, as soon as every connection has been answered; after it nothing new is asked, and
 * what runs is read to its end (LINGER at most), so that the next subject finds the machine quiet. --watch: a process
 * whose threads' time on a processor, from /proc/PID/task/N/schedstat, is told for the window. All times in the result
 * are nanoseconds.
 */
#include "figures.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONNECTING_MAX 256           /* at once: a backlog that overflows would be measured as patience */
#define LINGER (20 * SECOND)
#define SILENCE (30 * SECOND)        /* an answer of which nothing comes for so long has failed */
#define HEAD_MAX 16384
#define LINE_SEEN 512                /* so much of an event's line is looked at */
#define KEYS_MAX 64
#define WATCHED_MAX 16

enum state { IDLE, CONNECTING, SENDING, IN_HEAD, IN_BODY };
enum chunk { SIZE, SIZE_REST, BYTES, BYTES_END, TRAILER };

struct connection {
    int fd, number;
    enum state state;
    bool pending, closing, chunked, ready, met;
    uint64_t asked_at /* not before this moment */, due, heard_at, sent;
    char head[HEAD_MAX];
    size_t head_length;
    uint64_t left, body_bytes;
    enum chunk chunk;
    char line[LINE_SEEN]; /* of a stream, or of a chunk's size */
    size_t line_length;
    uint32_t events;
    bool completed;
    char last;
};

static struct {
    int port, connections;
    double seconds, warm, rate, spread;
    const char *path, *body_file, *keys_file;
    char headers[2048]; /* further ones, a line each */
    int64_t events, bytes;
    bool volley, fresh, hold;
    int watched[WATCHED_MAX], watched_count;
} wish = {.path = "/v1/openai/responses", .connections = 1, .seconds = 2, .warm = 0.5, .events = -1, .bytes = -1};

static struct connection *all;
static struct iovec heads[KEYS_MAX];
static int keys_count, poll_fd, connecting, running;
static char *body;
static size_t body_length;
static uint64_t begins, ends = UINT64_MAX, began_at, ended_at;
static int answered; /* connections that have had a first byte */
static uint64_t cpu_before[WATCHED_MAX], cpu_after[WATCHED_MAX], own_before, own_after, machine_before, machine_after;
static uint64_t done, connects, unfinished, received, failed_connect, failed_status, failed_short, failed_odd, failed_silent;
static struct histogram latency, first_byte, delay;
static char complaint[300];

static bool in_window(void) {
    return began_at && !ended_at;
}

/* --- connections ------------------------------------------------------------------------------------------------ */

static void shut(struct connection *one) {
    if (one->fd >= 0) close(one->fd);
    if (one->state == CONNECTING) connecting--;
    one->fd = -1;
    one->state = IDLE;
}

static void over(struct connection *one) {
    if (one->pending) running--;
    one->pending = false;
}

static void failed(struct connection *one, uint64_t *counter, const char *why) {
    ++*counter;
    if (!complaint[0]) {
        const char *line = one->head_length ? one->head : "";
        snprintf(complaint, sizeof complaint, "%s: %.*s", why, (int)strcspn(line, "\r\n"), line);
        for (char *c = complaint; *c; c++)
            if (*c == '"' || *c == '\\' || (unsigned char)*c < 32) *c = '\'';
    }
    shut(one);
    over(one);
}

static void join(struct connection *one) {
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (one->fd < 0) die("socket: %s", strerror(errno));
    int on = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wish.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->state = CONNECTING;
    connecting++;
    connects++;
    if (connect(one->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        failed(one, &failed_connect, strerror(errno));
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = one};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, one->fd, &event);
}

static void transmit(struct connection *one) {
    struct iovec *head = &heads[one->number % keys_count];
    while (one->sent < head->iov_len + body_length) {
        struct iovec parts[2];
        int count = 0;
        if (one->sent < head->iov_len)
            parts[count++] = (struct iovec){(char *)head->iov_base + one->sent, head->iov_len - one->sent};
        size_t of_body = one->sent > head->iov_len ? one->sent - head->iov_len : 0;
        parts[count++] = (struct iovec){body + of_body, body_length - of_body};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(one->fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) failed(one, &failed_short, "the connection broke while the request was sent");
            return;
        }
        one->sent += (uint64_t)sent;
        one->heard_at = now_ns();
    }
    one->state = IN_HEAD;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static void whole(struct connection *one) {
    uint64_t at = now_ns();
    bool odd = wish.events >= 0 ? one->events != wish.events || !one->completed
             : wish.bytes >= 0  ? one->body_bytes != (uint64_t)wish.bytes
                                : one->last != '}';
    if (odd) {
        failed(one, &failed_odd, "an answer is not what it must be");
        return;
    }
    if (in_window()) {
        done++;
        note(&latency, at - one->due);
    }
    over(one);
    one->state = IDLE;
    one->ready = true;
    if (one->closing) shut(one);
}

static void read_line(struct connection *one, const char *line, size_t length) {
    if (length < 5 || memcmp(line, "data:", 5) != 0) return;
    length = length > LINE_SEEN ? LINE_SEEN : length;
    const char *stamp = memmem(line, length, "\"@", 2);
    if (stamp && stamp + 30 <= line + length) {
        uint64_t due = strtoull(stamp + 2, NULL, 10), at = now_ns();
        if (strtoul(stamp + 22, NULL, 10) != one->events++) one->events = 1u << 31; /* lost or twice: never right again */
        if (in_window()) note(&delay, at > due ? at - due : 0);
    } else if (memmem(line, length > 100 ? 100 : length, "\"response.completed\"", 20)) {
        one->completed = true;
    }
}

/* Lines, however the bytes were cut. */
static void read_stream(struct connection *one, const char *bytes, size_t count) {
    while (count) {
        const char *end = memchr(bytes, '\n', count);
        size_t part = end ? (size_t)(end - bytes) : count;
        if (end && one->line_length == 0) {
            read_line(one, bytes, part);
        } else {
            size_t room = one->line_length < LINE_SEEN ? LINE_SEEN - one->line_length : 0;
            memcpy(one->line + one->line_length, bytes, part < room ? part : room);
            one->line_length += part < room ? part : room;
            if (end) {
                read_line(one, one->line, one->line_length);
                one->line_length = 0;
            }
        }
        count -= part + (end ? 1 : 0);
        bytes += part + (end ? 1 : 0);
    }
}

static void take(struct connection *one, const char *bytes, size_t count) {
    if (count == 0) return;
    if (one->body_bytes == 0) {
        if (in_window()) note(&first_byte, now_ns() - one->due);
        if (!one->met) answered++;
        one->met = true;
    }
    one->body_bytes += count;
    one->last = bytes[count - 1];
    if (wish.events >= 0) read_stream(one, bytes, count);
}

/* HTTP's chunked coding (RFC 9112 §7.1); false = it is none. */
static bool take_chunks(struct connection *one, const char *bytes, size_t count) {
    while (count && one->state == IN_BODY) {
        switch (one->chunk) {
        case SIZE: {
            int digit = *bytes >= '0' && *bytes <= '9' ? *bytes - '0' : *bytes >= 'a' && *bytes <= 'f' ? *bytes - 'a' + 10
                      : *bytes >= 'A' && *bytes <= 'F' ? *bytes - 'A' + 10 : -1;
            if (digit < 0) {
                one->chunk = SIZE_REST;
                continue;
            }
            one->left = one->left * 16 + (uint64_t)digit;
            break;
        }
        case SIZE_REST:
            if (*bytes == '\n') one->chunk = one->left ? BYTES : TRAILER, one->head_length = 0;
            break;
        case BYTES: {
            size_t part = count < one->left ? count : (size_t)one->left;
            take(one, bytes, part);
            one->left -= part;
            bytes += part;
            count -= part;
            if (one->left == 0) one->chunk = BYTES_END;
            continue;
        }
        case BYTES_END:
            if (*bytes == '\n') one->chunk = SIZE;
            else if (*bytes != '\r') return false;
            break;
        case TRAILER: /* an empty line ends it; head_length counts the bytes of a line here */
            if (*bytes == '\n' && one->head_length == 0) {
                whole(one);
                return count == 1;
            }
            one->head_length = *bytes == '\n' ? 0 : *bytes == '\r' ? one->head_length : one->head_length + 1;
            break;
        }
        bytes++;
        count--;
    }
    return true;
}

static const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line + 1, '\n'))
        if (strncasecmp(line + 1, name, length) == 0) return line + 1 + length + strspn(line + 1 + length, " ");
    return NULL;
}

/* Takes a head that is whole; false = its answer has failed. */
static bool read_head(struct connection *one) {
    if (strncmp(one->head, "HTTP/1.1 200", 12) != 0) {
        failed(one, &failed_status, "refused");
        return false;
    }
    const char *length = field(one->head, "content-length:"), *coding = field(one->head, "transfer-encoding:");
    const char *closing = field(one->head, "connection:");
    one->chunked = coding && strncasecmp(coding, "chunked", 7) == 0;
    one->closing = closing && strncasecmp(closing, "close", 5) == 0;
    if (!one->chunked && length == NULL) {
        failed(one, &failed_odd, "an answer without a length");
        return false;
    }
    one->left = one->chunked ? 0 : strtoull(length, NULL, 10);
    one->chunk = SIZE;
    one->state = IN_BODY;
    return true;
}

static void heard(struct connection *one, char *bytes, size_t count) {
    one->heard_at = now_ns();
    received += count;
    if (one->state == IN_HEAD || one->state == SENDING) {
        size_t room = HEAD_MAX - 1 - one->head_length, before = one->head_length;
        size_t part = count < room ? count : room;
        memcpy(one->head + before, bytes, part);
        one->head_length += part;
        one->head[one->head_length] = 0;
        char *end = memmem(one->head, one->head_length, "\r\n\r\n", 4);
        if (end == NULL) {
            if (one->head_length == HEAD_MAX - 1) failed(one, &failed_odd, "a head without an end");
            return;
        }
        size_t used = (size_t)(end - one->head) + 4 - before;
        end[2] = 0;
        if (one->state == SENDING) {
            failed(one, &failed_status, "answered before the request was sent");
            return;
        }
        if (!read_head(one)) return;
        bytes += used;
        count -= used;
    }
    if (one->state == IDLE && count) {
        failed(one, &failed_odd, "bytes behind an answer");
    } else if (one->chunked) {
        if (!take_chunks(one, bytes, count)) failed(one, &failed_odd, "chunks that are none");
    } else if (one->state == IN_BODY) {
        if (count > one->left) {
            failed(one, &failed_odd, "more than was announced");
            return;
        }
        take(one, bytes, count);
        one->left -= count;
        if (one->left == 0) whole(one);
    }
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

static void begin_request(struct connection *one) {
    one->state = SENDING;
    one->sent = one->head_length = one->body_bytes = one->line_length = one->events = 0;
    one->completed = one->chunked = one->closing = one->ready = false;
    one->heard_at = now_ns();
    transmit(one);
}

static void ask(struct connection *one, uint64_t at) {
    if (!one->pending) running++;
    one->pending = true;
    one->due = at;
    if (one->fd < 0) join(one);
    else begin_request(one);
}

/* What a connection does next, when it has nothing to do. */
static void next(struct connection *one, uint64_t at) {
    if (one->pending || at >= ends || wish.volley) return;
    if (wish.hold && one->ready) return;
    if (one->fd < 0 && connecting >= CONNECTING_MAX) return;
    if (one->asked_at > at) return;
    if (wish.rate > 0) {
        uint64_t due = one->asked_at;
        one->asked_at += (uint64_t)(wish.connections / wish.rate * SECOND);
        ask(one, due);
    } else {
        ask(one, at);
    }
}

static void volley(uint64_t at) {
    if (running || at >= ends) return;
    for (int i = 0; i < wish.connections; i++)
        if (wish.fresh) shut(&all[i]);
    for (int i = 0; i < wish.connections; i++) ask(&all[i], now_ns());
}

/* Reads what there is. `ending`: also the end that the peer has announced. */
static void flow(struct connection *one, bool ending) {
    static char bytes[256 * 1024];
    for (;;) {
        ssize_t count = read(one->fd, bytes, sizeof bytes);
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) {
            if (one->pending) failed(one, &failed_short, "the connection broke off");
            else shut(one);
            return;
        }
        heard(one, bytes, (size_t)count);
        /* A short read has emptied the socket: what comes now comes with an event of its own (epoll(7)). */
        if (one->fd < 0 || ((size_t)count < sizeof bytes && !ending)) return;
    }
}

static void happened(struct connection *one, uint32_t events) {
    if (one->fd < 0) return;
    if (one->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(one->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) {
            failed(one, &failed_connect, strerror(error));
            return;
        }
        connecting--;
        begin_request(one);
    } else if (one->state == SENDING && (events & EPOLLOUT)) {
        transmit(one);
    }
    uint32_t ending = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if (one->fd >= 0 && (ending || events & EPOLLIN)) flow(one, ending != 0);
}

/* Whoever has something to do begins it; called a thousand times a second, and after every answer by its connection. */
static void look(uint64_t at) {
    for (int i = 0; i < wish.connections; i++) {
        struct connection *one = &all[i];
        if (one->pending && one->state != CONNECTING && !wish.hold && at - one->heard_at > SILENCE)
            failed(one, &failed_silent, "nothing more came");
        next(one, at);
    }
    if (wish.volley) volley(at);
}

static void watch(uint64_t *into) {
    for (int i = 0; i < wish.watched_count; i++) into[i] = cpu_of(wish.watched[i]);
}

static uint64_t all_failed(void) {
    return failed_connect + failed_status + failed_short + failed_odd + failed_silent;
}

/* The window begins when its time has come and every connection has been answered (or it is void anyhow). */
static void keep_time(uint64_t at) {
    if (!began_at && at >= begins && (answered == wish.connections || all_failed() || at >= begins + LINGER)) {
        began_at = at;
        ends = wish.hold ? UINT64_MAX : at + (uint64_t)(wish.seconds * SECOND);
        watch(cpu_before);
        own_before = own_cpu();
        machine_before = machine_cpu();
    }
    if (began_at && !ended_at && at >= ends) {
        ended_at = at;
        watch(cpu_after);
        own_after = own_cpu();
        machine_after = machine_cpu();
    }
}

static void hold_on(void) {
    int held = 0;
    for (int i = 0; i < wish.connections; i++) held += all[i].pending && all[i].body_bytes > 0;
    if (held < wish.connections && !all_failed()) return;
    printf("held %d %s\n", held, complaint);
    fflush(stdout);
    char any;
    while (read(0, &any, 1) > 0) {}
    exit(0);
}

static void loop(int timer) {
    static struct epoll_event found[1024];
    for (;;) {
        int count = epoll_wait(poll_fd, found, 1024, -1);
        uint64_t at = now_ns();
        keep_time(at);
        bool ticked = false;
        for (int i = 0; i < count; i++) {
            struct connection *one = found[i].data.ptr;
            if (one == NULL) {
                uint64_t times;
                ticked = read(timer, &times, sizeof times) > 0;
                continue;
            }
            happened(one, found[i].events);
            if (!one->pending) next(one, now_ns());
        }
        if (ticked) look(now_ns());
        if (wish.volley && !running) volley(now_ns());
        if (wish.hold && ticked) hold_on();
        if (at >= ends && (running == 0 || at >= ends + LINGER)) break;
    }
    unfinished = (uint64_t)running;
}

/* --- beginning and end ------------------------------------------------------------------------------------------ */

static char *file_content(const char *path, size_t *length) {
    int fd = open(path, O_RDONLY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about)) die("%s: %s", path, strerror(errno));
    char *content = made((size_t)about.st_size + 1);
    for (*length = 0; *length < (size_t)about.st_size;) {
        ssize_t count = read(fd, content + *length, (size_t)about.st_size - *length);
        if (count <= 0) die("%s cannot be read", path);
        *length += (size_t)count;
    }
    close(fd);
    return content;
}

static void make_heads(void) {
    size_t length;
    char *keys = file_content(wish.keys_file, &length);
    for (char *key = strtok(keys, "\n"); key && keys_count < KEYS_MAX; key = strtok(NULL, "\n")) {
        char *head = made(4096 + strlen(key) + strlen(wish.path));
        int bytes = sprintf(head,
            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
            "User-Agent: OpenAI/Python 3.51.0\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n"
            "X-Stainless-Lang: python\r\nX-Stainless-Retry-Count: 0\r\n%sContent-Length: %zu\r\n\r\n",
            wish.path, wish.port, key, wish.headers, body_length);
        heads[keys_count++] = (struct iovec){head, (size_t)bytes};
    }
    if (!keys_count) die("no keys");
}

static const char *value(int count, char **arguments, int *at) {
    if (*at + 1 >= count) die("%s needs a value", arguments[*at]);
    return arguments[++*at];
}

static void read_arguments(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        if (!strcmp(name, "--port")) wish.port = atoi(value(count, arguments, &i));
        else if (!strcmp(name, "--connections")) wish.connections = atoi(value(count, arguments, &i));
        else if (!strcmp(name, "--seconds")) wish.seconds = atof(value(count, arguments, &i));
        else if (!strcmp(name, "--warm")) wish.warm = atof(value(count, arguments, &i));
        else if (!strcmp(name, "--rate")) wish.rate = atof(value(count, arguments, &i));
        else if (!strcmp(name, "--spread")) wish.spread = atof(value(count, arguments, &i));
        else if (!strcmp(name, "--path")) wish.path = value(count, arguments, &i);
        else if (!strcmp(name, "--body")) wish.body_file = value(count, arguments, &i);
        else if (!strcmp(name, "--keys")) wish.keys_file = value(count, arguments, &i);
        else if (!strcmp(name, "--events")) wish.events = atoll(value(count, arguments, &i));
        else if (!strcmp(name, "--bytes")) wish.bytes = atoll(value(count, arguments, &i));
        else if (!strcmp(name, "--header")) {
            size_t used = strlen(wish.headers);
            snprintf(wish.headers + used, sizeof wish.headers - used, "%s\r\n", value(count, arguments, &i));
        } else if (!strcmp(name, "--volley")) wish.volley = true;
        else if (!strcmp(name, "--fresh")) wish.fresh = true;
        else if (!strcmp(name, "--hold")) wish.hold = true;
        else if (!strcmp(name, "--watch") && wish.watched_count < WATCHED_MAX)
            wish.watched[wish.watched_count++] = atoi(value(count, arguments, &i));
        else die("unknown: %s", name);
    }
    if (!wish.port || !wish.body_file || !wish.keys_file || wish.connections < 1) die("see the top of load.c");
}

static void report(void) {
    printf("{\"window\":%llu,\"requests\":%llu,\"connects\":%llu,\"unfinished\":%llu,\"received\":%llu,\"own_cpu\":%llu",
        (unsigned long long)(ended_at - began_at), (unsigned long long)done, (unsigned long long)connects,
        (unsigned long long)unfinished, (unsigned long long)received, (unsigned long long)(own_after - own_before));
    printf(",\"failed\":{\"connect\":%llu,\"status\":%llu,\"short\":%llu,\"odd\":%llu,\"silent\":%llu},\"complaint\":\"%s\"",
        (unsigned long long)failed_connect, (unsigned long long)failed_status, (unsigned long long)failed_short,
        (unsigned long long)failed_odd, (unsigned long long)failed_silent, complaint);
    printf(",\"machine_cpu\":%llu,\"cpu\":[", (unsigned long long)(machine_after - machine_before));
    for (int i = 0; i < wish.watched_count; i++)
        printf("%s%llu", i ? "," : "", (unsigned long long)(cpu_after[i] - cpu_before[i]));
    printf("]");
    tell("latency", &latency);
    tell("first_byte", &first_byte);
    tell("delay", &delay);
    printf("}\n");
}

int main(int count, char **arguments) {
    read_arguments(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    body = file_content(wish.body_file, &body_length);
    make_heads();
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    long tick = wish.rate > 0 ? 200000 : 1000000; /* ns */
    struct itimerspec each = {.it_interval = {.tv_nsec = tick}, .it_value = {.tv_nsec = tick}};
    timerfd_settime(timer, 0, &each, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer, &event);
    uint64_t start = now_ns();
    begins = start + (uint64_t)(wish.warm * SECOND);
    all = made((size_t)wish.connections * sizeof *all);
    for (int i = 0; i < wish.connections; i++) {
        all[i].fd = -1;
        all[i].number = i;
        double first = wish.rate > 0 ? i / wish.rate : wish.spread * i / wish.connections;
        all[i].asked_at = start + (uint64_t)(first * SECOND);
    }
    loop(timer);
    report();
    return 0;
}
