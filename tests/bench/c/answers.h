/* What upstream.c answers: whose model asks for what, and the bytes of JSON objects and of streams' events, in the
 * shape that ImageRouter and OpenAI's Responses API give them. No sockets here. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include "common.h"

#define TEXT_MAX (16 * 1024 * 1024)
#define DELTA_MAX 16384
#define FRONT_BYTES 1024 /* of an answer: what differs from answer to answer, and all of one that is so small */
#define COST_END "},\"cost\":0.0001}" /* stands behind the last digits of a JSON answer's cost */
#define EVENT_BYTES_MAX (4 * DELTA_MAX + 2048) /* of what one call writes */

struct wanted {
    bool stream;
    uint32_t text, events, burst;
    uint64_t pause_ns;
};

struct tail { /* the end of a JSON answer: the same for all of its size, but for the cost of a small one (`put_cost`) */
    uint32_t text;
    size_t length;
    char *bytes;
};

static char filler[DELTA_MAX]; /* of 'x', once `begin_answers` was called */

static void begin_answers(void) {
    memset(filler, 'x', sizeof filler);
}

static struct wanted wanted_by(const char *body, size_t length) {
    struct wanted wanted = {.text = 200, .burst = 1};
    const char *at = memmem(body, length, "bench/", 6), *end = body + length;
    if (at == NULL) return wanted;
    for (at += 6; at < end && *at && strchr("jepsb", *at);) {
        char what = *at++;
        uint64_t number = 0;
        while (at < end && *at >= '0' && *at <= '9') number = number * 10 + (uint64_t)(*at++ - '0');
        if (what == 'j') wanted.text = number > TEXT_MAX ? TEXT_MAX : (uint32_t)number;
        if (what == 'e') wanted.stream = true, wanted.events = (uint32_t)number, wanted.text = 40;
        if (what == 'p') wanted.pause_ns = number * 1000;
        if (what == 's') wanted.text = number > DELTA_MAX ? DELTA_MAX : (uint32_t)number;
        if (what == 'b') wanted.burst = number ? (uint32_t)number : 1;
        if (at < end && *at == '-') at++;
    }
    return wanted;
}

static const char *http_date(void) {
    static char date[40];
    static time_t date_of;
    time_t at = time(NULL);
    if (at != date_of) {
        struct tm parts;
        gmtime_r(&at, &parts);
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        date_of = at;
    }
    return date;
}

static struct tail *tail_of(uint32_t text) {
    static struct tail tails[16];
    static size_t next;
    for (size_t i = 0; i < 16; i++)
        if (tails[i].bytes && tails[i].text == text) return &tails[i];
    struct tail *one = &tails[next++ % 16];
    free(one->bytes);
    one->text = text;
    one->bytes = made(text + 512);
    memset(one->bytes, 'x', text);
    one->length = text + (size_t)sprintf(one->bytes + text,
        "\",\"annotations\":[]}]}],\"usage\":{\"input_tokens\":12,\"output_tokens\":24,\"total_tokens\":36,"
        "\"cost\":0.0000123" COST_END);
    return one;
}

/* The finalizer of splitmix64: another number for each serial, in no order, as a real upstream gives its ids. */
static unsigned long long id_of(uint64_t serial) {
    serial = (serial ^ serial >> 30) * 0xbf58476d1ce4e5b9ull;
    serial = (serial ^ serial >> 27) * 0x94d049bb133111ebull;
    return serial ^ serial >> 31;
}

/* The digits of a cost, 0.0000ddd USD. */
static unsigned int cost_of(unsigned long long id) {
    return 100 + (unsigned int)(id % 900);
}

/* Lays an answer's own cost over that of its tail; the answer ends at `end`. */
static void put_cost(char *end, unsigned long long id) {
    char digits[4];
    sprintf(digits, "%03u", cost_of(id));
    memcpy(end - strlen(COST_END) - 3, digits, 3);
}

/* All of a JSON answer but its tail; `front` has room for FRONT_BYTES. Returns its length. */
static size_t json_front(char *front, const struct tail *tail, unsigned long long id) {
    char head[512];
    int length = sprintf(head,
        "{\"id\":\"resp_%016llx\",\"object\":\"response\",\"created_at\":1790000000,\"status\":\"completed\","
        "\"error\":null,\"model\":\"bench/model\",\"output\":[{\"type\":\"message\",\"id\":\"msg_%016llx\","
        "\"status\":\"completed\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"",
        id, id);
    return (size_t)sprintf(front,
        "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "X-Request-Id: %016llx\r\nConnection: keep-alive\r\n\r\n%s",
        http_date(), (size_t)length + tail->length, id, head);
}

/* Puts one frame of HTTP's chunked coding around what was written at `into` + 10; returns where the next one begins. */
static char *framed(char *into, size_t length) {
    char size[12];
    int digits = sprintf(size, "%zx\r\n", length);
    memmove(into + digits, into + 10, length);
    memcpy(into, size, (size_t)digits);
    memcpy(into + digits + length, "\r\n", 2);
    return into + digits + length + 2;
}

/* Each of these writes at `at` and returns where the next one begins. */
static char *first_events(char *at, unsigned long long id) {
    at += sprintf(at,
        "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        "Transfer-Encoding: chunked\r\nX-Request-Id: %016llx\r\nConnection: keep-alive\r\n\r\n", http_date(), id);
    int length = sprintf(at + 10,
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":"
        "\"resp_%016llx\",\"object\":\"response\",\"created_at\":1790000000,\"status\":\"in_progress\",\"error\":null,"
        "\"model\":\"bench/model\",\"output\":[],\"usage\":null}}\n\n"
        "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":1,"
        "\"output_index\":0,\"item\":{\"id\":\"msg_%016llx\",\"type\":\"message\",\"status\":\"in_progress\","
        "\"role\":\"assistant\",\"content\":[]}}\n\n", id, id);
    return framed(at, (size_t)length);
}

static char *delta_event(char *at, unsigned long long id, uint32_t number, uint32_t text, uint64_t stamp) {
    int length = sprintf(at + 10,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":%u,"
        "\"item_id\":\"msg_%016llx\",\"output_index\":0,\"content_index\":0,\"delta\":\"@%019llu.%08u %.*s\","
        "\"logprobs\":[]}\n\n", number + 2, id, (unsigned long long)stamp, number, (int)text, filler);
    return framed(at, (size_t)length);
}

static char *last_events(char *at, unsigned long long id, uint32_t number, const struct wanted *wanted) {
    uint64_t all = (uint64_t)wanted->text * wanted->events;
    int text = all > DELTA_MAX ? DELTA_MAX : (int)all;
    int length = sprintf(at + 10,
        "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":%u,"
        "\"output_index\":0,\"item\":{\"id\":\"msg_%016llx\",\"type\":\"message\",\"status\":\"completed\",\"role\":"
        "\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"%.*s\",\"annotations\":[]}]}}\n\n"
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":%u,\"response\":{\"id\":"
        "\"resp_%016llx\",\"object\":\"response\",\"created_at\":1790000000,\"status\":\"completed\",\"error\":null,"
        "\"model\":\"bench/model\",\"output\":[{\"id\":\"msg_%016llx\",\"type\":\"message\",\"status\":\"completed\","
        "\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"%.*s\",\"annotations\":[]}]}],"
        "\"usage\":{\"input_tokens\":12,\"output_tokens\":24,\"total_tokens\":36,\"cost\":0.0000%03u}}}\n\n",
        number + 2, id, text, filler, number + 3, id, id, text, filler, cost_of(id));
    at = framed(at, (size_t)length);
    memcpy(at, "0\r\n\r\n", 5);
    return at + 5;
}

#endif
