/* The figures of load.c: times in histograms, and what processes and the machine have had of the processors.
 * All of them are nanoseconds. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

struct histogram { /* a hundredth of a value apart: 7 bits below the leading one */
    uint64_t count, sum, most, buckets[64 * 128];
};

static void note(struct histogram *of, uint64_t value) {
    int shift = value < 128 ? 0 : 63 - __builtin_clzll(value) - 7;
    of->buckets[((size_t)shift << 7) + (size_t)(value >> shift)]++;
    of->count++;
    of->sum += value;
    if (value > of->most) of->most = value;
}

static uint64_t quantile(const struct histogram *of, double part) {
    uint64_t wanted = (uint64_t)((double)of->count * part), seen = 0;
    for (size_t i = 0; i < sizeof of->buckets / sizeof *of->buckets; i++) {
        seen += of->buckets[i];
        if (seen > wanted) {
            /* Values of 128 and more have their leading bit in the lower half of the place. */
            size_t shift = i < 256 ? 0 : (i >> 7) - 1;
            return (uint64_t)(i - (shift << 7)) << shift;
        }
    }
    return of->most;
}

static void tell(const char *name, const struct histogram *of) {
    printf(",\"%s\":{\"count\":%llu,\"mean\":%llu,\"p50\":%llu,\"p90\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu}", name,
        (unsigned long long)of->count, (unsigned long long)(of->count ? of->sum / of->count : 0),
        (unsigned long long)quantile(of, 0.5), (unsigned long long)quantile(of, 0.9),
        (unsigned long long)quantile(of, 0.99), (unsigned long long)quantile(of, 0.999), (unsigned long long)of->most);
}

/* What all threads of a process have had of a processor. */
static uint64_t cpu_of(int pid) {
    char path[64], text[128];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL) return 0;
    for (struct dirent *thread; (thread = readdir(threads));) {
        if (thread->d_name[0] == '.') continue;
        char of_thread[400];
        snprintf(of_thread, sizeof of_thread, "%s/%s/schedstat", path, thread->d_name);
        int fd = open(of_thread, O_RDONLY);
        if (fd < 0) continue;
        ssize_t count = read(fd, text, sizeof text - 1);
        close(fd);
        if (count > 0) {
            text[count] = 0;
            sum += strtoull(text, NULL, 10);
        }
    }
    closedir(threads);
    return sum;
}

/* What the processors of this machine have done for anybody (proc(5), /proc/stat), what a hypervisor took included. */
static uint64_t machine_cpu(void) {
    unsigned long long user = 0, nice = 0, system = 0, idle, waiting, irq = 0, softirq = 0, stolen = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL) return 0;
    int found = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &waiting, &irq,
        &softirq, &stolen);
    fclose(file);
    return found < 8 ? 0 : (user + nice + system + irq + softirq + stolen) * (SECOND / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t own_cpu(void) {
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * SECOND + (uint64_t)at.tv_nsec;
}

#endif
