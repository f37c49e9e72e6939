/* Lanes: a queue of jobs, and threads that take what they can chew. */
#include "engine/lanes.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A claim of less than this is not worth a pass over the weights, unless
 * nothing more is left. */
enum { MIN_CLAIM_TOKENS = 96 };
/* Bytes of text to a token, to guess a pair's length before tokenizing it. */
enum { BYTES_PER_TOKEN = 4 };
/* Idle lanes that one which leaves work in the queue wakes. */
enum { CALLS_A_CLAIM = 2 };
/* How long a lane without work looks out for some before it sleeps. Who asks in
 * a row comes again within that, and a CPU that has slept is slow to wake and
 * has lost what it knew: a helper is there 60 us later on average then. */
enum { LOOK_OUT_NS = 100000 };
/* Calls with less company after which less of it is expected. */
enum { CALM_CALLS = 8 };

/* On the stack of the caller of cr_lanes_run. */
typedef struct job {
    const cr_work *work;
    size_t next;  /* first pair that no lane has claimed */
    size_t n_out; /* pairs claimed and not yet finished */
    size_t n_claims;
    uint64_t tokens;      /* guessed, of the whole job */
    uint64_t tokens_left; /* guessed, of the unclaimed pairs */
    cr_status status;     /* the first failure */
    cr_error *error;
    pthread_cond_t finished;
    struct job *behind; /* in the queue */
} job;

/* One worker and everything it needs to score a group. */
typedef struct lane {
    cr_lanes *lanes;
    uint32_t index;
    pthread_t thread;
    pthread_cond_t wake;
    _Atomic bool poked; /* something of this lane has changed: look */
    bool idle;
    bool called; /* to the queue, and has not looked yet */
    bool lent;   /* to a caller, whose thread works in place of this one */
    /* An invitation to a team, by the lane that leads it. */
    struct lane *leader;
    uint32_t member;
    /* The group that this lane builds, and the team for it. */
    cr_group group;
    cr_team team;
    int32_t *ids;        /* [max_group_tokens] */
    uint8_t *type_ids;   /* [max_group_tokens] */
    uint32_t *positions; /* [max_group_tokens] */
    uint32_t *starts;    /* [max_sequences + 1] */
    float *logits;       /* [max_sequences][n_labels] */
    cr_token_scratch *scratch;
    cr_lanes_totals totals; /* of the claim that it scores */
    cr_text query;          /* whose tokens are kept */
    cr_tokens query_tokens;
} lane;

struct cr_lanes {
    cr_lanes_options options;
    uint32_t n;
    uint32_t n_started;
    uint64_t bytes;
    /* Of everything below, and of what lanes say of each other: idle, called,
     * lent, leader. */
    pthread_mutex_t lock;
    bool stop;
    uint32_t n_callers; /* at this moment */
    uint32_t company;   /* callers at once, of late */
    uint32_t n_calm;    /* calls since then that had less company */
    cr_lanes_totals totals;
    job *first; /* jobs with unclaimed pairs */
    job *last;
    lane lane[]; /* [n] */
};

static cr_pair pair_of(const cr_work *work, size_t i) {
    if (work->pairs)
        return work->pairs[i];
    return (cr_pair){work->query, work->passages[i]};
}

static uint64_t guess_tokens(const cr_lanes *lanes, cr_pair pair) {
    uint64_t guess = CR_MIN_PAIR_TOKENS + pair.query.len / BYTES_PER_TOKEN +
                     pair.passage.len / BYTES_PER_TOKEN;
    uint32_t most = lanes->options.max_length;
    return guess < most ? guess : most;
}

/* ---- Waking, under the lock ---------------------------------------------- */

static bool is_free(const lane *l) { return l->idle && !l->leader; }

static void poke(lane *l) {
    atomic_store(&l->poked, true);
    pthread_cond_signal(&l->wake);
}

/* A lane that is free and not on its way to the queue, or NULL. */
static lane *find_free(cr_lanes *lanes) {
    for (uint32_t i = 0; i < lanes->n; i++)
        if (is_free(&lanes->lane[i]) && !lanes->lane[i].called)
            return &lanes->lane[i];
    return NULL;
}

/* Calls up to n idle lanes to the queue. The caller of a job calls one lane;
 * whoever leaves work there calls more. Were all woken at once, by a thread
 * that sleeps a moment later, the system might put two lanes on one CPU beside
 * an idle one, and there they stay: a short request takes twice its time then,
 * for seconds. Who goes on working keeps its CPU, so that they get another. */
static void call_idle(cr_lanes *lanes, uint32_t n) {
    for (lane *l; n && (l = find_free(lanes)); n--) {
        l->called = true;
        poke(l);
    }
}

/* ---- Callers, under the lock --------------------------------------------- */

/* Callers that come again and again are seen together only now and then, so
 * that what was seen of late is what counts. */
static void enter(cr_lanes *lanes) {
    if (++lanes->n_callers >= lanes->company) {
        lanes->company = lanes->n_callers;
        lanes->n_calm = 0;
    } else if (++lanes->n_calm == CALM_CALLS) {
        lanes->company--;
        lanes->n_calm = 0;
    }
}

/* Lanes that a caller should have for itself: a team that takes those of others
 * makes them wait, and its members are less than twice as fast as two. */
static uint32_t fair_lanes(const cr_lanes *lanes) {
    uint32_t fair = lanes->n / lanes->company;
    return fair ? fair : 1;
}

/* ---- Claiming, under the lock ------------------------------------------- */

typedef struct claim {
    job *job;
    size_t first;
    size_t end;
} claim;

/* How many tokens a free lane should take of the job: its share at first, so
 * that a small job is spread evenly; later its share of what is left, so that
 * all lanes finish together. */
static uint64_t claim_tokens(const cr_lanes *lanes, const job *j) {
    uint64_t most = lanes->options.backend->description.group_tokens;
    uint32_t n = fair_lanes(lanes);
    uint64_t share = j->n_claims < n ? j->tokens : j->tokens_left;
    share = (share + n - 1) / n;
    if (share < MIN_CLAIM_TOKENS)
        share = MIN_CLAIM_TOKENS;
    if (share > most)
        share = most;
    /* Who works alone leaves no rest to itself. */
    if (n == 1 && j->tokens_left < share + MIN_CLAIM_TOKENS)
        share = j->tokens_left;
    return share;
}

/* Whether idle lanes would rather split the rows of this job than its pairs. */
static bool suits_team(const cr_lanes *lanes, const job *j) {
    const cr_backend_description *d = &lanes->options.backend->description;
    if (j->behind || !d->team_tokens || fair_lanes(lanes) == 1 ||
        j->tokens_left + lanes->options.max_length > d->max_group_tokens)
        return false;
    for (uint32_t i = 0; i < lanes->n; i++)
        if (is_free(&lanes->lane[i]))
            return true;
    return false;
}

static claim take(cr_lanes *lanes) {
    job *j = lanes->first;
    claim c = {j, j->next, j->next};
    uint64_t want =
        suits_team(lanes, j) ? j->tokens_left : claim_tokens(lanes, j);
    for (uint64_t got = 0; c.end < j->work->n && got < want; c.end++) {
        uint64_t tokens = guess_tokens(lanes, pair_of(j->work, c.end));
        if (c.end > c.first && got + tokens / 2 > want)
            break;
        got += tokens;
        j->tokens_left -= tokens;
    }
    j->next = c.end;
    j->n_out += c.end - c.first;
    j->n_claims++;
    if (j->next == j->work->n) {
        lanes->first = j->behind;
        if (!lanes->first)
            lanes->last = NULL;
    }
    if (lanes->first)
        call_idle(lanes, CALLS_A_CLAIM);
    return c;
}

/* Takes the job out of the queue: nobody shall claim the rest of it. */
static void abandon(cr_lanes *lanes, job *j) {
    job *before = NULL;
    for (job *at = lanes->first; at; before = at, at = at->behind) {
        if (at != j)
            continue;
        if (before)
            before->behind = j->behind;
        else
            lanes->first = j->behind;
        if (lanes->last == j)
            lanes->last = before;
        break;
    }
    j->next = j->work->n;
}

static void finish(cr_lanes *lanes, claim c, cr_status status,
                   const cr_error *error) {
    job *j = c.job;
    j->n_out -= c.end - c.first;
    if (status != CR_OK && j->status == CR_OK) {
        j->status = status;
        if (j->error)
            *j->error = *error;
        abandon(lanes, j);
    }
    if (j->next == j->work->n && j->n_out == 0)
        pthread_cond_signal(&j->finished);
}

/* ---- Scoring a claim ---------------------------------------------------- */

static bool same_text(cr_text a, cr_text b) {
    return a.len == b.len && (a.len == 0 || a.data == b.data ||
                              memcmp(a.data, b.data, a.len) == 0);
}

/* Adds one pair to the lane's group. Queries that repeat, as in ranking, are
 * tokenized once. */
static void add_pair(lane *l, const cr_pair *pair) {
    const cr_lanes_options *o = &l->lanes->options;
    const cr_tokenizer *tokenizer = cr_model_get_tokenizer(o->model);
    if (!l->query.data || !same_text(l->query, pair->query)) {
        cr_tokenizer_encode(tokenizer, l->scratch, pair->query, true,
                            &l->query_tokens);
        l->query = pair->query;
    }
    cr_group *g = &l->group;
    size_t at = g->n_tokens;
    bool cut;
    size_t n = cr_tokenizer_encode_pair(
        tokenizer, l->scratch, pair, &l->query_tokens, o->max_length,
        o->truncation, l->ids + at, l->type_ids + at, &cut);
    cr_model_fill_positions(o->model, l->ids + at, n, l->positions + at);
    l->totals.n_pairs++;
    l->totals.n_cut += cut;
    l->totals.n_tokens += n;
    g->n_tokens += n;
    l->starts[++g->n_sequences] = (uint32_t)g->n_tokens;
}

/* Invites free lanes to the lane's finished group, if it is worth it and
 * nothing waits for them. */
static void form_team(lane *l) {
    cr_lanes *lanes = l->lanes;
    cr_team_init_alone(&l->team, l->index);
    uint32_t step = lanes->options.backend->description.team_tokens;
    uint32_t most = cr_team_worth(l->group.n_tokens, step);
    if (lanes->n == 1 || most < 2)
        return;
    pthread_mutex_lock(&lanes->lock);
    uint32_t fair = fair_lanes(lanes);
    most = most < fair ? most : fair;
    for (uint32_t i = 0; i < lanes->n && !lanes->first; i++) {
        lane *other = &lanes->lane[i];
        if (!is_free(other) || l->team.n_members >= most)
            continue;
        other->leader = l;
        other->member = l->team.n_members;
        l->team.lanes[l->team.n_members++] = i;
        poke(other);
    }
    pthread_mutex_unlock(&lanes->lock);
}

static cr_status score_group(lane *l, float *logits, size_t step,
                             cr_error *error) {
    cr_backend *backend = l->lanes->options.backend;
    form_team(l);
    cr_status status = backend->ops->score(backend, l->index, &l->team, 0,
                                           &l->group, l->logits, error);
    size_t n = l->lanes->options.n_labels;
    for (size_t i = 0; status == CR_OK && i < l->group.n_sequences; i++)
        memcpy((char *)logits + i * step, l->logits + i * n,
               n * sizeof *l->logits);
    return status;
}

static cr_status score_claim(lane *l, claim c, cr_error *error) {
    const cr_work *work = c.job->work;
    size_t room = l->lanes->options.backend->description.max_group_tokens;
    cr_status status = CR_OK;
    l->query = (cr_text){0};
    l->totals = (cr_lanes_totals){0};
    for (size_t i = c.first; status == CR_OK && i < c.end;) {
        size_t first = i;
        l->group.n_tokens = 0;
        l->group.n_sequences = 0;
        while (i < c.end &&
               l->group.n_tokens + l->lanes->options.max_length <= room) {
            cr_pair pair = pair_of(work, i++);
            add_pair(l, &pair);
        }
        float *logits =
            (float *)(void *)((char *)work->logits + first * work->logit_step);
        status = cr_token_scratch_check(l->scratch, error);
        if (status == CR_OK)
            status = score_group(l, logits, work->logit_step, error);
    }
    return status;
}

/* ---- Threads ------------------------------------------------------------ */

/* Works for another lane's group; called and returns with the lock held. */
static void join_team(lane *l) {
    lane *leader = l->leader;
    cr_lanes *lanes = l->lanes;
    pthread_mutex_unlock(&lanes->lock);
    cr_backend *backend = lanes->options.backend;
    cr_error ignored; /* only member 0 can fail */
    (void)backend->ops->score(backend, l->index, &leader->team, l->member,
                              &leader->group, NULL, &ignored);
    pthread_mutex_lock(&lanes->lock);
    l->leader = NULL;
}

/* Looks out for a poke, without the lock, with which it is called and returns.
 */
static void look_out(lane *l) {
    atomic_store(&l->poked, false);
    pthread_mutex_unlock(&l->lanes->lock);
    const int64_t until = cr_now_ns() + LOOK_OUT_NS;
    while (!atomic_load(&l->poked) && cr_now_ns() < until)
        cr_relax();
    pthread_mutex_lock(&l->lanes->lock);
}

static void wait_for_work(lane *l) {
    cr_lanes *lanes = l->lanes;
    bool looks_out = lanes->company == 1;
    l->idle = true;
    while (l->lent || (!lanes->stop && !lanes->first && !l->leader)) {
        if (looks_out && !l->lent)
            look_out(l);
        else
            pthread_cond_wait(&l->wake, &lanes->lock);
        looks_out = false;
        l->called = false;
    }
    l->idle = false;
}

static void add_totals(cr_lanes_totals *all, const cr_lanes_totals *more) {
    all->n_pairs += more->n_pairs;
    all->n_cut += more->n_cut;
    all->n_tokens += more->n_tokens;
}

/* Scores a claim of the first job; called and returns with the lock held. */
static void score_next(lane *l) {
    cr_lanes *lanes = l->lanes;
    claim c = take(lanes);
    pthread_mutex_unlock(&lanes->lock);
    cr_error error;
    cr_status status = score_claim(l, c, &error);
    pthread_mutex_lock(&lanes->lock);
    add_totals(&lanes->totals, &l->totals);
    finish(lanes, c, status, &error);
}

static void *run_lane(void *argument) {
    lane *l = argument;
    cr_lanes *lanes = l->lanes;
    pthread_mutex_lock(&lanes->lock);
    for (;;) {
        wait_for_work(l);
        if (l->leader)
            join_team(l);
        else if (lanes->first)
            score_next(l);
        else /* so it is time to stop */
            break;
    }
    pthread_mutex_unlock(&lanes->lock);
    return NULL;
}

/* The caller's thread claims of its own job as long as there is something
 * left, if a lane is free to lend it its place: a short request then waits for
 * no thread to wake up but those that help. More callers than lanes do not: a
 * lane that goes from job to job need not be woken. Called and returns with the
 * lock held. */
static void work_oneself(cr_lanes *lanes, const job *j) {
    lane *l = lanes->company > lanes->n ? NULL : find_free(lanes);
    if (!l || lanes->first != j)
        return;
    l->lent = true;
    l->idle = false;
    atomic_store(&l->poked, true); /* its own thread need not look out */
    while (lanes->first == j)
        score_next(l);
    l->lent = false;
    l->idle = true;
}

cr_status cr_lanes_run(cr_lanes *lanes, const cr_work *work, cr_error *error) {
    if (work->n == 0)
        return CR_OK;
    job j = {.work = work, .error = error};
    for (size_t i = 0; i < work->n; i++)
        j.tokens += guess_tokens(lanes, pair_of(work, i));
    j.tokens_left = j.tokens;
    pthread_cond_init(&j.finished, NULL);
    pthread_mutex_lock(&lanes->lock);
    enter(lanes);
    if (lanes->last)
        lanes->last->behind = &j;
    else
        lanes->first = &j;
    lanes->last = &j;
    work_oneself(lanes, &j);
    if (lanes->first)
        call_idle(lanes, 1);
    while (j.next < work->n || j.n_out)
        pthread_cond_wait(&j.finished, &lanes->lock);
    lanes->n_callers--;
    pthread_mutex_unlock(&lanes->lock);
    pthread_cond_destroy(&j.finished);
    return j.status;
}

/* ---- Life --------------------------------------------------------------- */

static void *make(cr_lanes *lanes, size_t n, size_t size) {
    lanes->bytes += n * size;
    return cr_calloc(n, size);
}

static cr_status lane_init(lane *l, cr_error *error) {
    cr_lanes *lanes = l->lanes;
    size_t tokens = lanes->options.backend->description.max_group_tokens;
    size_t sequences = tokens / CR_MIN_TEXT_TOKENS + 1;
    size_t length = lanes->options.max_length;
    l->ids = make(lanes, tokens, sizeof *l->ids);
    l->type_ids = make(lanes, tokens, sizeof *l->type_ids);
    l->positions = make(lanes, tokens, sizeof *l->positions);
    l->starts = make(lanes, sequences + 1, sizeof *l->starts);
    l->logits =
        make(lanes, sequences, lanes->options.n_labels * sizeof *l->logits);
    l->query_tokens = (cr_tokens){.ids = make(lanes, length, sizeof *l->ids),
                                  .capacity = length};
    if (!l->ids || !l->type_ids || !l->positions || !l->starts || !l->logits ||
        !l->query_tokens.ids)
        return cr_fail_memory(error, lanes->bytes, "a lane");
    l->group = (cr_group){.ids = l->ids,
                          .type_ids = l->type_ids,
                          .positions = l->positions,
                          .starts = l->starts};
    return cr_token_scratch_new((uint32_t)length, &l->scratch, error);
}

static void lane_fini(lane *l) {
    cr_free(l->ids);
    cr_free(l->type_ids);
    cr_free(l->positions);
    cr_free(l->starts);
    cr_free(l->logits);
    cr_free(l->query_tokens.ids);
    cr_token_scratch_free(l->scratch);
}

cr_status cr_lanes_new(const cr_lanes_options *options, cr_lanes **out,
                       cr_error *error) {
    uint32_t n = options->backend->description.lanes;
    size_t bytes = sizeof(cr_lanes) + n * sizeof(lane);
    cr_lanes *lanes = cr_calloc(1, bytes);
    *out = NULL;
    if (!lanes)
        return cr_fail_memory(error, bytes, "lanes");
    lanes->options = *options;
    lanes->n = n;
    lanes->company = 1;
    lanes->bytes = bytes;
    pthread_mutex_init(&lanes->lock, NULL);
    for (uint32_t i = 0; i < n; i++)
        pthread_cond_init(&lanes->lane[i].wake, NULL);
    cr_status status = CR_OK;
    for (uint32_t i = 0; status == CR_OK && i < n; i++) {
        lane *l = &lanes->lane[i];
        l->lanes = lanes;
        l->index = i;
        status = lane_init(l, error);
        if (status == CR_OK &&
            pthread_create(&l->thread, NULL, run_lane, l) != 0)
            status = cr_fail(error, CR_ERR_MEMORY,
                             "cannot start thread %u of %u: allow more "
                             "threads or ask for fewer",
                             i + 1, n);
        lanes->n_started += status == CR_OK;
    }
    if (status != CR_OK)
        cr_lanes_free(lanes);
    else
        *out = lanes;
    return status;
}

void cr_lanes_free(cr_lanes *lanes) {
    if (!lanes)
        return;
    pthread_mutex_lock(&lanes->lock);
    lanes->stop = true;
    for (uint32_t i = 0; i < lanes->n; i++)
        poke(&lanes->lane[i]);
    pthread_mutex_unlock(&lanes->lock);
    for (uint32_t i = 0; i < lanes->n_started; i++)
        pthread_join(lanes->lane[i].thread, NULL);
    for (uint32_t i = 0; i < lanes->n; i++) {
        lane_fini(&lanes->lane[i]);
        pthread_cond_destroy(&lanes->lane[i].wake);
    }
    pthread_mutex_destroy(&lanes->lock);
    cr_free(lanes);
}

cr_lanes_totals cr_lanes_count(cr_lanes *lanes) {
    pthread_mutex_lock(&lanes->lock);
    cr_lanes_totals totals = lanes->totals;
    pthread_mutex_unlock(&lanes->lock);
    return totals;
}

uint64_t cr_lanes_bytes(const cr_lanes *lanes) { return lanes->bytes; }
