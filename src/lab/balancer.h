/* Balancer: least outstanding, among any number of replicas in constant time.
 *
 * Replicas stand in lists by how many requests they have unanswered; the next
 * request goes to the first of the lowest list that is not empty, which then
 * stands last in the next list: replicas that have as few take turns.
 *
 * Threads: one. */
#ifndef CR_LAB_BALANCER_H
#define CR_LAB_BALANCER_H

#include "base/error.h"

typedef struct cr_balancer {
    uint32_t n, least;
    uint32_t *load, *before, *behind; /* [n] */
    uint32_t *first, *last;           /* [n_lists] by load */
    uint32_t n_lists;
} cr_balancer;

/* Of n >= 1 replicas without a request. CR_ERR_MEMORY; cr_balancer_fini must
 * follow whatever the status. */
cr_status cr_balancer_init(cr_balancer *balancer, uint32_t n, cr_error *error);
void cr_balancer_fini(cr_balancer *balancer);
/* The replica of the next request. CR_ERR_MEMORY. */
cr_status cr_balancer_pick(cr_balancer *balancer, uint32_t *replica,
                           cr_error *error);
/* A request of the replica was answered. */
void cr_balancer_finish(cr_balancer *balancer, uint32_t replica);

#endif
