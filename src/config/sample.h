/* SPDX-License-Identifier: MIT */
/*
 * What lists look like in the reference (config/firebreak.yaml): a messenger in two
 * datacenters, and the default ladder. config.def names them.
 */
#ifndef FIREBREAK_CONFIG_SAMPLE_H
#define FIREBREAK_CONFIG_SAMPLE_H

#define SAMPLE_LISTEN \
	"- address: \"127.0.0.1:8080\" # no certificate: HTTP/2 in cleartext, with prior knowledge\n"

#define SAMPLE_DATACENTERS \
	"- name: pangyo\n" \
	"  endpoints: [\"127.0.0.1:9101\", \"127.0.0.1:9102\"]\n" \
	"- name: anyang\n" \
	"  endpoints:\n" \
	"    - \"127.0.0.1:9201\"\n" \
	"    - { address: \"127.0.0.1:9202\", weight: 1 }\n"

/* island keeps `forward` for core: it costs nothing while no datacenter can be reached,
 * and core is served again at once when one returns, not a hold later. */
#define SAMPLE_MODES \
	"- name: normal\n" \
	"  ways: { core: [forward, stale], standard: [forward, stale], optional: [forward, stale] }\n" \
	"- name: reduced\n" \
	"  enter_below: 75%\n" \
	"  ways: { core: [forward, stale], standard: [forward, stale], optional: [refuse] }\n" \
	"- name: core-only\n" \
	"  enter_below: 40%\n" \
	"  ways: { core: [forward, stale], standard: [stale], optional: [refuse] }\n" \
	"- name: island\n" \
	"  enter_below: 1%\n" \
	"  ways: { core: [forward, stale, accept-later], standard: [stale], optional: [refuse] }\n"

#define SAMPLE_FEATURES \
	"- name: send\n" \
	"  tier: core\n" \
	"  routes: [\"POST /v1/rooms/{room}/messages\", \"grpc messenger.v1.Messenger/Send\"]\n" \
	"  idempotency: idempotency-key\n" \
	"- name: sync\n" \
	"  tier: core\n" \
	"  routes: [\"GET /v1/sync\"]\n" \
	"  identity: bearer\n" \
	"  state: { keep: true }\n" \
	"- name: recent-messages\n" \
	"  tier: core\n" \
	"  routes: [\"GET /v1/rooms/{room}/messages\", \"grpc messenger.v1.Messenger/Recent\"]\n" \
	"  identity: bearer\n" \
	"  state: { keep: true }\n" \
	"- name: room-list\n" \
	"  tier: core\n" \
	"  routes: [\"GET /v1/rooms\", \"grpc messenger.v1.Messenger/Rooms\"]\n" \
	"  identity: bearer\n" \
	"  state: { keep: true }\n" \
	"- name: presence\n" \
	"  tier: core\n" \
	"  routes: [\"GET|PUT /v1/presence/{user}\"]\n" \
	"  identity: bearer\n" \
	"  state: { keep: true, max_age: 1h }\n" \
	"- name: events\n" \
	"  tier: core\n" \
	"  routes: [\"GET /v1/events\", \"grpc messenger.v1.Messenger/Events\"]\n" \
	"  long_lived: true\n" \
	"  stream_idle: 1h\n" \
	"- name: login\n" \
	"  tier: core\n" \
	"  routes: [\"POST /v1/login/refresh\"]\n" \
	"- name: media\n" \
	"  tier: standard\n" \
	"  routes: [\"POST /v1/media\", \"GET /v1/media/{id}\"]\n" \
	"  body_limit: 1GiB\n" \
	"  timeout: 30s\n" \
	"- name: profile\n" \
	"  tier: standard\n" \
	"  routes: [\"GET|PUT /v1/profile\"]\n" \
	"  identity: bearer\n" \
	"  state: { keep: true }\n" \
	"- name: backup\n" \
	"  tier: optional\n" \
	"  routes: [\"/v1/backup/**\"]\n" \
	"  body_limit: unlimited\n" \
	"  timeout: 30s\n" \
	"  retry_after: 1m\n" \
	"- name: shopping\n" \
	"  tier: optional\n" \
	"  routes: [\"/v1/shopping/**\"]\n" \
	"  retry_after: 1m\n"

#endif
