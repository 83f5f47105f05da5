/* SPDX-License-Identifier: MIT */
/*
 * Running totals on the board to differences. A worker on another configuration
 * numbers its endpoints differently: it is not listened to, and what it counted until
 * it arrives at ours is the base it starts from.
 */
#include "probe.h"

static uint64_t look(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static uint32_t grown(uint64_t now, uint64_t then)
{
	uint64_t d = now - then;

	return now < then ? 0 : d < 1000000 ? (uint32_t)d : 1000000;
}

/* Totals that shrank were begun anew meanwhile: there is no difference to be had. */
static void add_traffic(struct dc_traffic *t, const struct dc_traffic *now, const struct dc_traffic *then)
{
	if (now->well < then->well || now->errors < then->errors)
		return;
	t->well += now->well - then->well;
	t->errors += now->errors - then->errors;
	t->errors_usual += now->errors_usual - then->errors_usual;
	t->slow += now->slow - then->slow;
	t->slow_squared += now->slow_squared - then->slow_squared;
}

static void add_up(struct dc_evidence *e, const struct board_evidence *now, const struct board_evidence *then)
{
	uint32_t faults = grown(now->faults, then->faults), silences = grown(now->silences, then->silences);

	e->answers += grown(now->answers, then->answers);
	e->faults += faults;
	e->silences += silences;
	if ((faults || silences) && now->last_fault < FAULT_COUNT)
		e->fault = (enum fault)now->last_fault;
}

static struct board_evidence copy(const struct board_evidence *b)
{
	return (struct board_evidence){
		look(&b->answers), look(&b->faults), look(&b->silences), look(&b->last_fault),
		{ look(&b->traffic.well), look(&b->traffic.errors), look(&b->traffic.errors_usual),
		  (int64_t)look((const uint64_t *)&b->traffic.slow), look(&b->traffic.slow_squared) },
	};
}

static void collect_worker(struct dc_probe *p, unsigned w, struct dc_evidence *out, struct dc_traffic *traffic)
{
	struct board_worker *part = board_worker(p->board, w);
	struct seen *s = &p->seen[w];
	uint64_t generation = atomic_load(&part->generation);
	int32_t pid = atomic_load(&part->pid);
	bool known = s->generation == generation && s->pid == pid;
	unsigned i;

	s->generation = generation;
	s->pid = pid;
	if (generation != p->conf->generation)
		return;
	for (i = 0; i < p->conf->endpoints; i++) {
		struct board_evidence now = copy(&part->endpoint[i]);

		if (known) {
			add_up(&out[i], &now, &s->endpoint[i]);
			add_traffic(&traffic[i], &now.traffic, &s->endpoint[i].traffic);
		}
		s->endpoint[i] = now;
	}
	if (atomic_load(&part->generation) != generation)
		s->generation = 0; /* it moved on while we read: begin again */
}

void evidence_collect(struct dc_probe *p, struct dc_evidence out[CONF_MAX_ENDPOINTS], struct dc_traffic traffic[CONF_MAX_ENDPOINTS])
{
	unsigned w, i;

	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		out[i] = (struct dc_evidence){ 0 }, traffic[i] = (struct dc_traffic){ 0 };
	for (w = 0; w < board_workers(p->board) && w < CONF_MAX_WORKERS; w++)
		collect_worker(p, w, out, traffic);
}
