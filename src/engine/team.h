/* A team: lanes that work on one group together, and meet at barriers.
 *
 * Waiting spins for a short while and then yields, because parts between two
 * barriers are tens of microseconds long and lanes have cores of their own.
 * The leader makes the team, from a structure that was 0 at first, and may make
 * the next of it as soon as its own last cr_team_meet returns: a member that is
 * slow to leave that one only waits for a turn that has come. */
#ifndef CR_ENGINE_TEAM_H
#define CR_ENGINE_TEAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { CR_TEAM_MAX = 64 };

typedef struct cr_team {
    uint32_t n_members;
    uint32_t lanes[CR_TEAM_MAX]; /* [n_members], the leader's first */
    _Atomic uint32_t arrived;
    _Atomic uint32_t turn;
} cr_team;

/* How many members a group of so many tokens is worth, its leader included, if
 * parts are multiples of `step` tokens: none is left without any. 1 of step 0.
 */
uint32_t cr_team_worth(uint64_t tokens, uint32_t step);

/* Tells the CPU that this thread only waits. */
void cr_relax(void);

/* A team of this one lane. */
void cr_team_init_alone(cr_team *team, uint32_t lane);

/* Returns when all members have called it. What they wrote before is seen by
 * all after. */
void cr_team_meet(cr_team *team);

/* Member's part [*first, *end) of `n` rows, cut at multiples of `step`. */
void cr_team_part(const cr_team *team, uint32_t member, size_t n, size_t step,
                  size_t *first, size_t *end);

#endif
