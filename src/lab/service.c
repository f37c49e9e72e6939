/* Service: a line through points, and its JSON. */
#include "lab/service.h"

#include <math.h>
#include <string.h>

double cr_service_ns(const cr_service *s, double tokens) {
    size_t last = s->n_points - 1, i = 1;
    if (tokens <= s->tokens[0])
        return s->ns[0];
    if (tokens >= s->tokens[last])
        return s->ns[last] * tokens / s->tokens[last];
    while (s->tokens[i] < tokens)
        i++;
    double share =
        (tokens - s->tokens[i - 1]) / (s->tokens[i] - s->tokens[i - 1]);
    return s->ns[i - 1] + share * (s->ns[i] - s->ns[i - 1]);
}

/* ---- Writing --------------------------------------------------------------
 */

json_t *cr_service_write(const cr_service *s) {
    json_t *groups = json_array(), *ratios = json_array();
    for (size_t i = 0; i < s->n_points; i++)
        json_array_append_new(groups,
                              json_pack("{s:f,s:f}", "tokens", s->tokens[i],
                                        "ms", s->ns[i] * 1e-6));
    for (size_t i = 0; i < s->n_ratios; i++)
        json_array_append_new(ratios, json_real(s->ratios[i]));
    return json_pack("{s:i,s:i,s:i,s:b,s:o,s:f,s:f,s:f,s:o}", "group_tokens",
                     (int)s->geometry.group_tokens, "max_group_tokens",
                     (int)s->geometry.max_group_tokens, "team_tokens",
                     (int)s->geometry.team_tokens, "teams",
                     s->geometry.team_tokens > 0, "groups", groups, "team_gain",
                     s->team_gain, "door_ms", s->door_ns * 1e-6, "wire_ms",
                     s->wire_ns * 1e-6, "spread", ratios);
}

/* ---- Reading --------------------------------------------------------------
 */

typedef struct reader {
    const char *path;
    cr_error *error;
    cr_status status; /* of the first failure */
} reader;

static double take(reader *r, const json_t *json, const char *key, double min,
                   double max) {
    const json_t *value = json_object_get(json, key);
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (r->status == CR_OK &&
        (!json_is_number(value) || number < min || number > max))
        r->status = cr_fail(r->error, CR_ERR_INPUT,
                            "%s: \"service\": \"%s\" must be a number from "
                            "%g to %g; crossrank plan --json writes such files",
                            r->path, key, min, max);
    return number;
}

static double take_ns(reader *r, const json_t *json, const char *key,
                      double min_ms, double max_ms) {
    return round(1e6 * take(r, json, key, min_ms, max_ms));
}

static void read_points(reader *r, const json_t *list, cr_service *s) {
    size_t n = json_array_size(list);
    if (n < 1 || n > CR_SERVICE_POINTS) {
        r->status = cr_fail(r->error, CR_ERR_INPUT,
                            "%s: \"service\": \"groups\" has %zu entries, it "
                            "must have 1 to %d",
                            r->path, n, CR_SERVICE_POINTS);
        return;
    }
    for (size_t i = 0; i < n && r->status == CR_OK; i++) {
        const json_t *one = json_array_get(list, i);
        double least = i ? nextafter(s->tokens[i - 1], 1e9) : 1;
        s->tokens[i] = take(r, one, "tokens", least, 1e9);
        s->ns[i] = take_ns(r, one, "ms", 1e-6, 1e9);
    }
    s->n_points = n;
}

static void read_ratios(reader *r, const json_t *list, cr_service *s) {
    size_t n = json_array_size(list);
    s->n_ratios = n < CR_SERVICE_RATIOS ? n : CR_SERVICE_RATIOS;
    for (size_t i = 0; i < s->n_ratios && r->status == CR_OK; i++) {
        s->ratios[i] = json_number_value(json_array_get(list, i));
        if (!(s->ratios[i] > 0 && s->ratios[i] <= 1e6))
            r->status = cr_fail(r->error, CR_ERR_INPUT,
                                "%s: \"service\": \"spread\" must be a list "
                                "of numbers above 0",
                                r->path);
    }
}

cr_status cr_service_read(const json_t *json, const char *path, cr_service *s,
                          cr_error *error) {
    reader r = {path, error, CR_OK};
    memset(s, 0, sizeof *s);
    s->geometry.group_tokens =
        (uint32_t)take(&r, json, "group_tokens", 1, 1 << 24);
    s->geometry.max_group_tokens = (uint32_t)take(
        &r, json, "max_group_tokens", s->geometry.group_tokens, 1 << 24);
    s->geometry.team_tokens = json_is_true(json_object_get(json, "teams"));
    /* Older files have no more than that. */
    if (json_object_get(json, "team_tokens"))
        s->geometry.team_tokens =
            (uint32_t)take(&r, json, "team_tokens", 0, 1 << 24);
    s->team_gain = take(&r, json, "team_gain", 0, 1);
    s->door_ns = take_ns(&r, json, "door_ms", 0, 1e6);
    s->wire_ns = take_ns(&r, json, "wire_ms", 0, 1e6);
    if (r.status == CR_OK)
        read_points(&r, json_object_get(json, "groups"), s);
    if (r.status == CR_OK)
        read_ratios(&r, json_object_get(json, "spread"), s);
    return r.status;
}
