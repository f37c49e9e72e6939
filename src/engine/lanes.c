/* Lanes: a queue of jobs, and threads that take what they can chew. */
#include "engine/lanes.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A claim of less than this is not worth a pass over the weights, unless
 * nothing more is left. */
enum { MIN_CLAIM_TOKENS = 96 };
/* Rows that a team's member should have at least. */
enum { MIN_MEMBER_TOKENS = 12 };
/* Bytes of text to a token, to guess a pair's length before tokenizing it. */
enum { BYTES_PER_TOKEN = 4 };

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
    bool idle;
    /* An invitation to a team, by the lane that leads it. */
    struct lane *leader;
    uint32_t member;
    /* The group that this lane builds. */
    cr_group group;
    int32_t *ids;        /* [max_group_tokens] */
    uint8_t *type_ids;   /* [max_group_tokens] */
    uint32_t *positions; /* [max_group_tokens] */
    uint32_t *starts;    /* [max_sequences + 1] */
    float *logits;       /* [max_sequences][n_labels] */
    cr_team team;
    uint32_t n_away; /* members that have not left the team */
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
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t changed;
    bool stop;
    uint32_t n_idle;
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
    uint64_t share = j->n_claims < lanes->n ? j->tokens : j->tokens_left;
    share = (share + lanes->n - 1) / lanes->n;
    if (share < MIN_CLAIM_TOKENS)
        share = MIN_CLAIM_TOKENS;
    return share < most ? share : most;
}

/* Whether idle lanes would rather split the rows of this job than its pairs. */
static bool suits_team(const cr_lanes *lanes, const job *j) {
    const cr_backend_description *d = &lanes->options.backend->description;
    return lanes->n > 1 && lanes->n_idle && !j->behind && d->exact &&
           j->tokens_left + lanes->options.max_length <= d->max_group_tokens;
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
    return a.len == b.len &&
           (a.data == b.data || memcmp(a.data, b.data, a.len) == 0);
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

/* Invites idle lanes to the lane's finished group, if it is worth it. */
static void form_team(lane *l) {
    cr_lanes *lanes = l->lanes;
    cr_team_init_alone(&l->team, l->index);
    size_t most = l->group.n_tokens / MIN_MEMBER_TOKENS;
    if (most > CR_TEAM_MAX)
        most = CR_TEAM_MAX;
    if (lanes->n == 1 || most < 2)
        return;
    pthread_mutex_lock(&lanes->lock);
    for (uint32_t i = 0; i < lanes->n && !lanes->first; i++) {
        lane *other = &lanes->lane[i];
        if (!other->idle || other->leader || l->team.n_members >= most)
            continue;
        other->leader = l;
        other->member = l->team.n_members;
        l->team.lanes[l->team.n_members++] = i;
    }
    l->n_away = l->team.n_members - 1;
    if (l->n_away)
        pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->lock);
}

/* The leader may touch its team again when all members have left it. */
static void dismiss_team(lane *l) {
    if (l->team.n_members == 1)
        return;
    pthread_mutex_lock(&l->lanes->lock);
    while (l->n_away)
        pthread_cond_wait(&l->lanes->changed, &l->lanes->lock);
    pthread_mutex_unlock(&l->lanes->lock);
}

static cr_status score_group(lane *l, float *logits, size_t step,
                             cr_error *error) {
    cr_backend *backend = l->lanes->options.backend;
    form_team(l);
    cr_status status = backend->ops->score(backend, l->index, &l->team, 0,
                                           &l->group, l->logits, error);
    dismiss_team(l);
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
    if (--leader->n_away == 0)
        pthread_cond_broadcast(&lanes->changed);
}

static void wait_for_work(lane *l) {
    cr_lanes *lanes = l->lanes;
    l->idle = true;
    lanes->n_idle++;
    while (!lanes->stop && !lanes->first && !l->leader)
        pthread_cond_wait(&lanes->changed, &lanes->lock);
    l->idle = false;
    lanes->n_idle--;
}

static void add_totals(cr_lanes_totals *all, const cr_lanes_totals *more) {
    all->n_pairs += more->n_pairs;
    all->n_cut += more->n_cut;
    all->n_tokens += more->n_tokens;
}

static void *run_lane(void *argument) {
    lane *l = argument;
    cr_lanes *lanes = l->lanes;
    pthread_mutex_lock(&lanes->lock);
    for (;;) {
        wait_for_work(l);
        if (l->leader) {
            join_team(l);
            continue;
        }
        if (!lanes->first) /* so it is time to stop */
            break;
        claim c = take(lanes);
        pthread_mutex_unlock(&lanes->lock);
        cr_error error;
        cr_status status = score_claim(l, c, &error);
        pthread_mutex_lock(&lanes->lock);
        add_totals(&lanes->totals, &l->totals);
        finish(lanes, c, status, &error);
    }
    pthread_mutex_unlock(&lanes->lock);
    return NULL;
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
    if (lanes->last)
        lanes->last->behind = &j;
    else
        lanes->first = &j;
    lanes->last = &j;
    pthread_cond_broadcast(&lanes->changed);
    while (j.next < work->n || j.n_out)
        pthread_cond_wait(&j.finished, &lanes->lock);
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
    size_t sequences = tokens / CR_MIN_PAIR_TOKENS + 1;
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
    lanes->bytes = bytes;
    pthread_mutex_init(&lanes->lock, NULL);
    pthread_cond_init(&lanes->changed, NULL);
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
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->lock);
    for (uint32_t i = 0; i < lanes->n_started; i++)
        pthread_join(lanes->lane[i].thread, NULL);
    for (uint32_t i = 0; i < lanes->n; i++)
        lane_fini(&lanes->lane[i]);
    pthread_cond_destroy(&lanes->changed);
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
