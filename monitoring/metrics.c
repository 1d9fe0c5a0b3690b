#include "monitoring/metrics.h"

#include <math.h>
#include <stdint.h>

#define LABEL_SIZE 64 /* bytes of a label's value, NUL included */

struct sample {
    char label[LABEL_SIZE];
    double value;
};

struct family {
    enum metric_kind kind;
    const char *name, *help, *label;
    struct sample samples[METRICS_LABELS_MAX];
    int n_samples;
    const double *bounds;
    int n_bounds;
    uint64_t buckets[METRICS_BUCKETS_MAX + 1]; /* the last one is +Inf */
    double sum;
    uint64_t count;
};

struct metrics {
    struct family families[METRICS_FAMILIES_MAX];
    int n;
};

int metrics_new(struct metrics **ret_metrics, struct err *e)
{
    *ret_metrics = calloc(1, sizeof **ret_metrics);
    return *ret_metrics ? 0 : err_set(e, ERR_OOM, "no memory for metrics");
}

void metrics_free(struct metrics *m)
{
    free(m);
}

int metrics_family(struct metrics *m, enum metric_kind kind, const char *name, const char *help,
                   const char *label)
{
    struct family *f;

    if (m->n == METRICS_FAMILIES_MAX)
        return -1;
    f = &m->families[m->n];
    *f = (struct family){.kind = kind, .name = name, .help = help, .label = label};
    if (!label && kind != METRIC_HISTOGRAM)
        f->n_samples = 1; /* shown as 0 from the start */
    return m->n++;
}

int metrics_histogram(struct metrics *m, const char *name, const char *help, const double *bounds,
                      int n)
{
    int id = metrics_family(m, METRIC_HISTOGRAM, name, help, NULL);

    if (id < 0)
        return id;
    m->families[id].bounds = bounds;
    m->families[id].n_bounds = n < METRICS_BUCKETS_MAX ? n : METRICS_BUCKETS_MAX;
    return id;
}

static struct sample *sample_of(struct metrics *m, int id, const char *value)
{
    struct family *f;
    struct sample *s;

    if (id < 0 || id >= m->n)
        return NULL;
    f = &m->families[id];
    if (!f->label)
        return f->samples;
    for (int i = 0; i < f->n_samples; i++)
        if (strcmp(f->samples[i].label, value) == 0)
            return &f->samples[i];
    if (f->n_samples == METRICS_LABELS_MAX - 1)
        value = "other";
    else if (f->n_samples == METRICS_LABELS_MAX)
        return &f->samples[METRICS_LABELS_MAX - 1];
    s = &f->samples[f->n_samples++];
    snprintf(s->label, sizeof s->label, "%s", value);
    s->value = 0;
    return s;
}

void metrics_set(struct metrics *m, int id, const char *value, double x)
{
    struct sample *s = sample_of(m, id, value);

    if (s)
        s->value = x;
}

void metrics_add(struct metrics *m, int id, const char *value, double x)
{
    struct sample *s = sample_of(m, id, value);

    if (s)
        s->value += x;
}

void metrics_observe(struct metrics *m, int id, double x)
{
    struct family *f;
    int i = 0;

    if (id < 0 || id >= m->n || m->families[id].kind != METRIC_HISTOGRAM || isnan(x))
        return;
    f = &m->families[id];
    while (i < f->n_bounds && x > f->bounds[i])
        i++;
    f->buckets[i]++;
    f->sum += x;
    f->count++;
}

static void put_number(struct buf *b, double x)
{
    if (isfinite(x))
        buf_number(b, x);
    else
        buf_puts(b, isnan(x) ? "NaN" : x > 0 ? "+Inf" : "-Inf");
    buf_putc(b, '\n');
}

/* A label's value, escaped as the format wants it. */
static void put_label(struct buf *b, const char *label, const char *value)
{
    buf_printf(b, "{%s=\"", label);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            buf_printf(b, "\\%c", *value);
        else if (*value == '\n')
            buf_puts(b, "\\n");
        else
            buf_putc(b, *value);
    }
    buf_puts(b, "\"}");
}

static void put_histogram(struct buf *b, const struct family *f)
{
    uint64_t sum = 0;

    for (int i = 0; i < f->n_bounds; i++) {
        sum += f->buckets[i];
        buf_printf(b, "%s_bucket{le=\"", f->name);
        buf_number(b, f->bounds[i]);
        buf_printf(b, "\"} %llu\n", (unsigned long long)sum);
    }
    buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n", f->name, (unsigned long long)f->count);
    buf_printf(b, "%s_sum ", f->name);
    put_number(b, f->sum);
    buf_printf(b, "%s_count %llu\n", f->name, (unsigned long long)f->count);
}

void metrics_text(const struct metrics *m, struct buf *ret_text)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};

    for (int i = 0; i < m->n; i++) {
        const struct family *f = &m->families[i];

        if (f->kind != METRIC_HISTOGRAM && f->n_samples == 0)
            continue;
        buf_printf(ret_text, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
                   kinds[f->kind]);
        if (f->kind == METRIC_HISTOGRAM)
            put_histogram(ret_text, f);
        for (int k = 0; k < f->n_samples; k++) {
            buf_puts(ret_text, f->name);
            if (f->label)
                put_label(ret_text, f->label, f->samples[k].label);
            buf_putc(ret_text, ' ');
            put_number(ret_text, f->samples[k].value);
        }
    }
}
