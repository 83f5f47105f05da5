/* SPDX-License-Identifier: MIT */
/*
 * What the conductor says to its relay process: one record a datagram over a
 * SOCK_SEQPACKET pair. The relay says RELAY_READY once when all its ports listen, then
 * echoes each word when it is in force. When the conductor is gone it ends.
 */
#ifndef BENCH_RELAY_H
#define BENCH_RELAY_H

#include <stdint.h>

#define RELAY_READY     UINT16_MAX /* as the fault */
#define RELAY_ALL       UINT32_MAX /* as the port */
#define RELAY_PORTS_MAX 80

struct relay_word {
	uint32_t port;  /* of the command line, from 0 */
	uint16_t fault; /* enum scenario_fault, one of the wire's */
	uint16_t on;    /* 0: heal */
	double value, jitter; /* delay: ns, ns; bandwidth: octets per second, each way */
};

int relay_main(int argc, char **argv);

#endif
