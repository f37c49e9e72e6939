/* A team of lanes: a barrier that counts turns. */
#include "engine/team.h"

#include <sched.h>

/* Turns of waiting before the core is offered to somebody else. */
enum { SPINS = 20000 };
/* Rows that members should have at least; two are worth it with 4 each
 * (docs/SPEED.md, "Lanes"). */
enum { MIN_MEMBER_TOKENS = 12, MIN_TEAM_TOKENS = 8 };

void cr_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint32_t cr_team_worth(uint64_t tokens, uint32_t step) {
    uint64_t most = tokens / MIN_MEMBER_TOKENS;
    if (most < 2)
        most = tokens < MIN_TEAM_TOKENS ? 1 : 2;
    uint64_t parts = step ? (tokens + step - 1) / step : 1;
    most = most < parts ? most : parts;
    return most > CR_TEAM_MAX ? CR_TEAM_MAX : (uint32_t)most;
}

void cr_team_init_alone(cr_team *team, uint32_t lane) {
    team->n_members = 1;
    team->lanes[0] = lane;
}

void cr_team_meet(cr_team *team) {
    /* Not after arriving: the leader may be making another team then. */
    const uint32_t n_members = team->n_members;
    if (n_members == 1)
        return;
    uint32_t turn = atomic_load(&team->turn);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == n_members) {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->turn, turn + 1);
        return;
    }
    for (uint32_t i = 0; atomic_load(&team->turn) == turn; i++) {
        if (i < SPINS)
            cr_relax();
        else
            sched_yield();
    }
}

void cr_team_part(const cr_team *team, uint32_t member, size_t n, size_t step,
                  size_t *first, size_t *end) {
    size_t steps = (n + step - 1) / step;
    *first = steps * member / team->n_members * step;
    *end = steps * (member + 1) / team->n_members * step;
    if (*end > n)
        *end = n;
    if (*first > n)
        *first = n;
}
