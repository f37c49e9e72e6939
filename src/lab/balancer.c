/* Balancer: a list for each load, a replica moves one list up or down. */
#include "lab/balancer.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define NOBODY UINT32_MAX

static void append(cr_balancer *b, uint32_t replica) {
    uint32_t load = b->load[replica], last = b->last[load];
    b->before[replica] = last;
    b->behind[replica] = NOBODY;
    if (last == NOBODY)
        b->first[load] = replica;
    else
        b->behind[last] = replica;
    b->last[load] = replica;
}

static void take_out(cr_balancer *b, uint32_t replica) {
    uint32_t load = b->load[replica];
    uint32_t before = b->before[replica], behind = b->behind[replica];
    if (before == NOBODY)
        b->first[load] = behind;
    else
        b->behind[before] = behind;
    if (behind == NOBODY)
        b->last[load] = before;
    else
        b->before[behind] = before;
}

static cr_status grow(cr_balancer *b, cr_error *error) {
    uint32_t n = b->n_lists ? 2 * b->n_lists : 16;
    size_t bytes = n * sizeof *b->first;
    uint32_t *first = cr_realloc(b->first, bytes);
    if (first)
        b->first = first;
    uint32_t *last = first ? cr_realloc(b->last, bytes) : NULL;
    if (!last)
        return cr_fail_memory(error, bytes, "a balancer");
    b->last = last;
    for (uint32_t i = b->n_lists; i < n; i++)
        b->first[i] = b->last[i] = NOBODY;
    b->n_lists = n;
    return CR_OK;
}

cr_status cr_balancer_init(cr_balancer *b, uint32_t n, cr_error *error) {
    *b = (cr_balancer){.n = n};
    b->load = cr_calloc(n, sizeof *b->load);
    b->before = cr_calloc(n, sizeof *b->before);
    b->behind = cr_calloc(n, sizeof *b->behind);
    if (!b->load || !b->before || !b->behind)
        return cr_fail_memory(error, n * sizeof *b->load, "a balancer");
    cr_status status = grow(b, error);
    for (uint32_t i = 0; status == CR_OK && i < n; i++)
        append(b, i);
    return status;
}

void cr_balancer_fini(cr_balancer *b) {
    cr_free(b->load);
    cr_free(b->before);
    cr_free(b->behind);
    cr_free(b->first);
    cr_free(b->last);
}

cr_status cr_balancer_pick(cr_balancer *b, uint32_t *replica, cr_error *error) {
    cr_status status = CR_OK;
    if (b->least + 1 == b->n_lists)
        status = grow(b, error);
    if (status != CR_OK)
        return status;
    *replica = b->first[b->least];
    take_out(b, *replica);
    b->load[*replica]++;
    append(b, *replica);
    if (b->first[b->least] == NOBODY)
        b->least++;
    return CR_OK;
}

void cr_balancer_finish(cr_balancer *b, uint32_t replica) {
    assert(b->load[replica] > 0);
    take_out(b, replica);
    b->load[replica]--;
    append(b, replica);
    if (b->load[replica] < b->least)
        b->least = b->load[replica];
}
