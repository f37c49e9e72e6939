/* Teams: who takes which rows, and that nobody comes for nothing. */
#include "engine/team.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Parts lie end to end, each begins at a multiple of the step, and no member
 * of a team that is as large as it is worth has none. */
static void check_parts(uint64_t tokens, uint32_t step) {
    cr_team team = {.n_members = cr_team_worth(tokens, step)};
    assert_in_range(team.n_members, 1, CR_TEAM_MAX);
    size_t end = 0;
    for (uint32_t member = 0; member < team.n_members; member++) {
        size_t first, last = end;
        cr_team_part(&team, member, tokens, step, &first, &end);
        assert_int_equal(first, last);
        assert_int_equal(first % step, 0);
        assert_true(end > first);
    }
    assert_int_equal(end, tokens);
}

static void no_member_is_left_without_rows(void **state) {
    (void)state;
    for (uint64_t tokens = 1; tokens < 1200; tokens++) {
        check_parts(tokens, 1);
        check_parts(tokens, 4);
        check_parts(tokens, 16);
    }
}

static void teams_are_worth_their_meetings(void **state) {
    (void)state;
    assert_int_equal(cr_team_worth(7, 4), 1);
    assert_int_equal(cr_team_worth(8, 4), 2);
    assert_int_equal(cr_team_worth(36, 4), 3);
    assert_int_equal(cr_team_worth(36, 16), 3);
    assert_int_equal(cr_team_worth(16, 16), 1); /* one part, no team */
    assert_int_equal(cr_team_worth(60, 16), 4);
    assert_int_equal(cr_team_worth(1 << 20, 4), CR_TEAM_MAX);
    assert_int_equal(cr_team_worth(1 << 20, 0), 1); /* no teams there */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_member_is_left_without_rows),
        cmocka_unit_test(teams_are_worth_their_meetings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
