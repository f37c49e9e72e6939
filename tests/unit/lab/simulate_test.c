/* The simulation against queueing theory, where theory has an answer, and
 * against what the server promises. Seeds are fixed, so each run is the same.
 */
#include "lab/balancer.h"
#include "lab/simulate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A request of one pair that is a group by itself takes 10 ms. */
enum { TOKENS = 256, REQUESTS = 200000 };
static const double SERVICE_MS = 10;
static const uint32_t ONE_PAIR[] = {0, TOKENS};

static cr_service constant(void) {
    return (cr_service){.geometry = {TOKENS, 2 * TOKENS, false},
                        .n_points = 1,
                        .tokens = {TOKENS},
                        .ns = {SERVICE_MS * 1e6}};
}

/* Times as if drawn from an exponential distribution: its quantiles. */
static cr_service exponential(void) {
    cr_service s = constant();
    double sum = 0;
    s.n_ratios = CR_SERVICE_RATIOS;
    for (size_t i = 0; i < s.n_ratios; i++)
        sum += s.ratios[i] = -log(1 - ((double)i + 0.5) / (double)s.n_ratios);
    for (size_t i = 0; i < s.n_ratios; i++)
        s.ratios[i] *= (double)s.n_ratios / sum;
    return s;
}

static cr_simulation_options options_of(const cr_service *service, double load,
                                        uint32_t replicas, uint32_t lanes) {
    return (cr_simulation_options){.service = service,
                                   .batching = {.enabled = true},
                                   .replicas = replicas,
                                   .lanes = lanes,
                                   .rate = load * replicas * lanes * 1000 /
                                           SERVICE_MS,
                                   .starts = ONE_PAIR,
                                   .n_kinds = 1,
                                   .pairs = 1,
                                   .warmup = REQUESTS / 10,
                                   .requests = REQUESTS,
                                   .seed = 1};
}

static cr_simulation run(const cr_simulation_options *o) {
    cr_simulation result;
    cr_error error;
    if (cr_simulate(o, &result, &error) != CR_OK)
        fail_msg("%s", error.message);
    assert_false(result.overloaded);
    assert_int_equal(result.counted, o->requests);
    return result;
}

static void assert_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance * expected))
        fail_msg("%g is not %g (within %g %%)", value, expected,
                 100 * tolerance);
}

/* Erlang's C: how likely a request of M/M/c has to wait. */
static double erlang_c(uint32_t c, double load) {
    double a = load * c, sum = 0, term = 1;
    for (uint32_t k = 0; k < c; k++) {
        sum += term;
        term *= a / (k + 1);
    }
    double last = term / (1 - load);
    return last / (sum + last);
}

static double mmc_mean_ms(uint32_t c, double load) {
    return SERVICE_MS * (1 + erlang_c(c, load) / (c * (1 - load)));
}

/* ---- Theory ---------------------------------------------------------------
 */

static void one_lane_with_constant_times(void **state) {
    (void)state;
    cr_service s = constant();
    static const double LOADS[] = {0.3, 0.5, 0.8, 0.9};
    for (size_t i = 0; i < 4; i++) {
        double load = LOADS[i];
        cr_simulation_options o = options_of(&s, load, 1, 1);
        cr_simulation r = run(&o);
        /* Pollaczek and Khinchine, M/D/1. */
        assert_near(r.latency_ms.mean,
                    SERVICE_MS * (1 + load / (2 * (1 - load))), 0.04);
        assert_near(r.utilization, load, 0.01);
        assert_near(r.latency_ms.min, SERVICE_MS, 1e-9);
    }
}

static void lanes_with_exponential_times(void **state) {
    (void)state;
    cr_service s = exponential();
    static const struct {
        uint32_t lanes;
        double load;
    } CASES[] = {{1, 0.5}, {1, 0.8}, {2, 0.8}, {4, 0.7}};
    for (size_t i = 0; i < 4; i++) {
        cr_simulation_options o =
            options_of(&s, CASES[i].load, 1, CASES[i].lanes);
        cr_simulation r = run(&o);
        assert_near(r.latency_ms.mean,
                    mmc_mean_ms(CASES[i].lanes, CASES[i].load), 0.05);
    }
}

/* First come, first served has the shortest tail that an order can have that
 * does not look at sizes, M/M/1: -ln(0.01) times the mean. The fair queue lets
 * newcomers in front and is somewhat behind that. */
static void the_tail_of_one_lane(void **state) {
    (void)state;
    cr_service s = exponential();
    cr_simulation_options o = options_of(&s, 0.5, 1, 1);
    double first_come = -log(0.01) * SERVICE_MS / 0.5;
    cr_simulation r = run(&o);
    assert_true(r.latency_ms.p99 > 0.97 * first_come);
    assert_true(r.latency_ms.p99 < 1.3 * first_come);
    assert_near(r.latency_ms.p50, -log(0.5) * SERVICE_MS / 0.5, 0.1);
}

/* The shortest of two queues lies between one shared queue and two that are
 * chosen without looking. */
static void replicas_behind_the_balancer(void **state) {
    (void)state;
    cr_service s = exponential();
    cr_simulation_options o = options_of(&s, 0.8, 2, 1);
    cr_simulation r = run(&o);
    double shared = mmc_mean_ms(2, 0.8), blind = mmc_mean_ms(1, 0.8);
    assert_true(r.latency_ms.mean > shared && r.latency_ms.mean < blind);
    assert_true(r.latency_ms.mean < (shared + blind) / 2);
    assert_true(r.most_share - r.least_share < r.launched / 100);
}

/* ---- What is promised -----------------------------------------------------
 */

/* Requests of 1 to 9 pairs of many lengths. */
enum { PAIRS = 9, KINDS = 40 };

static void fill_kinds(uint32_t starts[KINDS][PAIRS + 1]) {
    for (uint32_t k = 0; k < KINDS; k++)
        for (uint32_t i = 0; i < PAIRS; i++)
            starts[k][i + 1] = starts[k][i] + 20 + (k * 37 + i * 101) % 180;
}

static void nothing_is_lost_or_doubled(void **state) {
    (void)state;
    static const cr_batching SETTINGS[] = {
        {.enabled = true},
        {.enabled = false},
        {.enabled = true, .max_batch = 16, .timeout_ns = 20 * 1000000},
    };
    static uint32_t starts[KINDS][PAIRS + 1];
    fill_kinds(starts);
    cr_service s = exponential();
    s.geometry.team_tokens = 4;
    s.team_gain = 0.8;
    s.door_ns = 4e5;
    for (size_t i = 0; i < 3; i++) {
        cr_simulation_options o = options_of(&s, 0.1, 3, 2);
        o.batching = SETTINGS[i];
        o.starts = &starts[0][0];
        o.n_kinds = KINDS;
        o.pairs = PAIRS;
        o.warmup = 0;
        o.requests = 5000;
        cr_simulation r = run(&o);
        /* Every request that was answered had each of its pairs scored once:
         * what was taken and is still under way is that of the others. */
        assert_true(r.n_group_pairs >= r.answered * PAIRS);
        assert_true(r.n_group_pairs <= r.launched * PAIRS);
        assert_true(r.launched - r.answered < 100);
        assert_true(r.n_group_tokens > 20 * r.n_group_pairs);
    }
}

/* Batches wait for others, but no longer than they may. */
static void the_window_is_respected(void **state) {
    (void)state;
    cr_service s = constant();
    cr_simulation_options o = options_of(&s, 0.3, 1, 2);
    o.requests = 20000;
    o.batching.timeout_ns = 25 * 1000000;
    cr_simulation r = run(&o);
    assert_true(r.longest_idle_wait_ms > 20);
    assert_true(r.longest_idle_wait_ms <= 25);
    o.batching.timeout_ns = 0;
    r = run(&o);
    assert_true(r.longest_idle_wait_ms <= 1e-6);
    /* One alone waits all of it. */
    o.batching.timeout_ns = 25 * 1000000;
    o.in_flight = 1;
    o.requests = 100;
    r = run(&o);
    assert_near(r.latency_ms.min, 25 + SERVICE_MS, 1e-9);
    assert_near(r.latency_ms.max, 25 + SERVICE_MS, 1e-9);
    /* A batch that is full does not wait. */
    o.batching.max_batch = 1;
    r = run(&o);
    assert_near(r.latency_ms.max, SERVICE_MS, 1e-9);
}

static void a_request_alone(void **state) {
    (void)state;
    static const uint32_t four[] = {0, 256, 512, 768, 1024};
    cr_service s = constant();
    s.door_ns = 1e6;
    s.wire_ns = 5e5;
    cr_simulation_options o = options_of(&s, 0, 1, 1);
    o.starts = four;
    o.pairs = 4;
    o.in_flight = 1;
    o.requests = 50;
    assert_near(run(&o).latency_ms.p99, 1.5 + 4 * SERVICE_MS, 1e-9);
    o.lanes = 4; /* a pair each */
    assert_near(run(&o).latency_ms.p99, 1.5 + SERVICE_MS, 1e-9);
    /* A team of two on a single group, and the time that it saves. */
    s.geometry.team_tokens = 4;
    s.team_gain = 0.6;
    o.starts = ONE_PAIR;
    o.pairs = 1;
    o.lanes = 2;
    assert_near(run(&o).latency_ms.p99, 1.5 + SERVICE_MS / 1.6, 1e-6);
}

/* With every lane at work the door's time is taken from them. */
static void the_door_costs_capacity(void **state) {
    (void)state;
    cr_service s = constant();
    cr_simulation_options o = options_of(&s, 0, 1, 1);
    o.in_flight = 50;
    o.requests = 5000;
    assert_near(run(&o).requests_per_s, 100, 0.001);
    s.door_ns = 2.5e6;
    assert_near(run(&o).requests_per_s, 80, 0.001);
}

static void too_much_is_given_up(void **state) {
    (void)state;
    cr_service s = constant();
    cr_simulation_options o = options_of(&s, 4, 2, 1);
    cr_simulation r;
    cr_error error;
    o.requests = 5000;
    assert_int_equal(cr_simulate(&o, &r, &error), CR_OK);
    assert_true(r.overloaded);
    assert_true(isnan(r.utilization));
    assert_true(r.launched <= 3 * (o.warmup + o.requests) + 1);
}

static void a_seed_repeats(void **state) {
    (void)state;
    cr_service s = exponential();
    cr_simulation_options o = options_of(&s, 0.8, 5, 2);
    o.requests = 5000;
    cr_simulation a = run(&o), b = run(&o);
    assert_memory_equal(&a, &b, sizeof a);
    o.seed = 2;
    b = run(&o);
    assert_true(a.latency_ms.p99 != b.latency_ms.p99);
    assert_near(a.latency_ms.mean, b.latency_ms.mean, 0.1);
}

/* A bound on work, not on time: events grow with requests, whatever the
 * number of replicas. */
static void a_thousand_replicas(void **state) {
    (void)state;
    cr_service s = exponential();
    cr_simulation_options o = options_of(&s, 0.9, 1000, 2);
    o.warmup = 20000;
    o.requests = 100000;
    cr_simulation r = run(&o);
    /* One at the balancer, one at the queue, one for the group. */
    assert_true(r.n_events <= 3 * r.launched);
    assert_near(r.utilization, 0.9, 0.02);
    /* Of so many one is always idle. */
    assert_near(r.latency_ms.mean, SERVICE_MS, 0.03);
    assert_true(r.most_share < 2 * r.least_share);
}

static void wrong_numbers_are_refused(void **state) {
    (void)state;
    cr_service s = constant();
    cr_simulation r;
    cr_error error;
    cr_simulation_options o = options_of(&s, 0.5, 1, 1);
    o.replicas = CR_MAX_REPLICAS + 1;
    assert_int_equal(cr_simulate(&o, &r, &error), CR_ERR_ARGUMENT);
    o.replicas = 1000;
    o.lanes = 1000;
    assert_int_equal(cr_simulate(&o, &r, &error), CR_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "1000 replicas of 1000 lanes"));
}

/* ---- The balancer ---------------------------------------------------------
 */

static void the_least_loaded_in_turns(void **state) {
    (void)state;
    cr_balancer b;
    uint32_t at;
    assert_int_equal(cr_balancer_init(&b, 3, NULL), CR_OK);
    for (uint32_t i = 0; i < 60; i++) {
        assert_int_equal(cr_balancer_pick(&b, &at, NULL), CR_OK);
        assert_int_equal(at, i % 3);
    }
    cr_balancer_finish(&b, 1);
    cr_balancer_finish(&b, 1);
    cr_balancer_finish(&b, 2);
    static const uint32_t NEXT[] = {1, 2, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(cr_balancer_pick(&b, &at, NULL), CR_OK);
        assert_int_equal(at, NEXT[i]);
    }
    cr_balancer_fini(&b);
}

/* ---- The curve ------------------------------------------------------------
 */

static void a_curve_between_its_points(void **state) {
    (void)state;
    cr_service s = {
        .n_points = 3, .tokens = {10, 20, 40}, .ns = {100, 200, 300}};
    assert_near(cr_service_ns(&s, 1), 100, 1e-12);
    assert_near(cr_service_ns(&s, 15), 150, 1e-12);
    assert_near(cr_service_ns(&s, 30), 250, 1e-12);
    assert_near(cr_service_ns(&s, 80), 600, 1e-12);
}

static void a_curve_as_json(void **state) {
    (void)state;
    cr_service s = exponential(), back;
    cr_error error;
    s.team_gain = 0.5;
    s.door_ns = 123456;
    s.wire_ns = 7890;
    json_t *json = cr_service_write(&s);
    assert_int_equal(cr_service_read(json, "x.json", &back, &error), CR_OK);
    assert_int_equal(back.n_ratios, s.n_ratios);
    assert_near(back.door_ns, s.door_ns, 1e-9);
    assert_near(cr_service_ns(&back, 100), cr_service_ns(&s, 100), 1e-9);
    json_object_set_new(json, "team_gain", json_string("much"));
    assert_int_equal(cr_service_read(json, "x.json", &back, &error),
                     CR_ERR_INPUT);
    assert_non_null(strstr(error.message, "x.json"));
    assert_non_null(strstr(error.message, "team_gain"));
    json_decref(json);
}

/* Nanoseconds come back to the bit from the milliseconds of a file. */
static void times_come_back_from_json(void **state) {
    (void)state;
    cr_service s = exponential(), back;
    cr_error error;
    for (int i = 1; i <= 2000; i++) {
        s.ns[0] = 7919.0 * i;
        s.door_ns = 104729.0 * i;
        s.wire_ns = 1299709.0 * i;
        json_t *json = cr_service_write(&s);
        assert_int_equal(cr_service_read(json, "x.json", &back, &error), CR_OK);
        assert_memory_equal(&back.ns[0], &s.ns[0], sizeof s.ns[0]);
        assert_memory_equal(&back.door_ns, &s.door_ns, sizeof s.door_ns);
        assert_memory_equal(&back.wire_ns, &s.wire_ns, sizeof s.wire_ns);
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_lane_with_constant_times),
        cmocka_unit_test(lanes_with_exponential_times),
        cmocka_unit_test(the_tail_of_one_lane),
        cmocka_unit_test(replicas_behind_the_balancer),
        cmocka_unit_test(nothing_is_lost_or_doubled),
        cmocka_unit_test(the_window_is_respected),
        cmocka_unit_test(a_request_alone),
        cmocka_unit_test(the_door_costs_capacity),
        cmocka_unit_test(too_much_is_given_up),
        cmocka_unit_test(a_seed_repeats),
        cmocka_unit_test(a_thousand_replicas),
        cmocka_unit_test(wrong_numbers_are_refused),
        cmocka_unit_test(the_least_loaded_in_turns),
        cmocka_unit_test(a_curve_between_its_points),
        cmocka_unit_test(a_curve_as_json),
        cmocka_unit_test(times_come_back_from_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
