#include "cdpdk.h"

#include <rte_acl.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <string.h>

// ---- policies: rte_acl ----------------------------------------------------------------------------------------------

enum {
    FIELD_PROTOCOL, FIELD_SOURCE, FIELD_DESTINATION, FIELD_SOURCE_PORT, FIELD_DESTINATION_PORT, FIELD_VISIBLE, FIELDS
};
RTE_ACL_RULE_DEF(flow_rule, FIELDS);

#define FIELD(number, kind, member, input) \
    [number] = {.type = kind, .size = sizeof(((cdpdk_flow_key *)0)->member), .field_index = number, \
                .input_index = input, .offset = offsetof(cdpdk_flow_key, member)}

// The first field is one octet, the others come in groups of four: that is how rte_acl reads its input.
static const struct rte_acl_field_def fields[FIELDS] = {
    FIELD(FIELD_PROTOCOL, RTE_ACL_FIELD_TYPE_BITMASK, protocol, 0),
    FIELD(FIELD_SOURCE, RTE_ACL_FIELD_TYPE_MASK, source, 1),
    FIELD(FIELD_DESTINATION, RTE_ACL_FIELD_TYPE_MASK, destination, 2),
    FIELD(FIELD_SOURCE_PORT, RTE_ACL_FIELD_TYPE_RANGE, source_port, 3),
    FIELD(FIELD_DESTINATION_PORT, RTE_ACL_FIELD_TYPE_RANGE, destination_port, 3),
    FIELD(FIELD_VISIBLE, RTE_ACL_FIELD_TYPE_BITMASK, ports_visible, 4),
};

static struct flow_rule compile(const cdpdk_rule *rule) {
    struct flow_rule compiled;
    memset(&compiled, 0, sizeof compiled);
    compiled.data.category_mask = 1;
    compiled.data.priority = rule->priority;
    compiled.data.userdata = rule->result;
    compiled.field[FIELD_PROTOCOL].value.u8 = rule->protocol;
    compiled.field[FIELD_PROTOCOL].mask_range.u8 = rule->protocol_mask;
    compiled.field[FIELD_SOURCE].value.u32 = rule->source;
    compiled.field[FIELD_SOURCE].mask_range.u32 = rule->source_length;
    compiled.field[FIELD_DESTINATION].value.u32 = rule->destination;
    compiled.field[FIELD_DESTINATION].mask_range.u32 = rule->destination_length;
    compiled.field[FIELD_SOURCE_PORT].value.u16 = rule->source_port_low;
    compiled.field[FIELD_SOURCE_PORT].mask_range.u16 = rule->source_port_high;
    compiled.field[FIELD_DESTINATION_PORT].value.u16 = rule->destination_port_low;
    compiled.field[FIELD_DESTINATION_PORT].mask_range.u16 = rule->destination_port_high;
    compiled.field[FIELD_VISIBLE].value.u32 = rule->ports_visible;
    compiled.field[FIELD_VISIBLE].mask_range.u32 = rule->ports_visible_mask;
    return compiled;
}

// A rule at a time: RULE(index) gives the address of the compiled one.
static void *build(
    const char *name, uint32_t rule_size, const struct rte_acl_field_def *definitions, uint32_t count_of_fields,
    const struct rte_acl_rule *(*compiled)(const void *rules, uint32_t index), const void *rules, uint32_t count,
    int *error) {
    struct rte_acl_param parameters = {
        .name = name, .socket_id = SOCKET_ID_ANY, .rule_size = rule_size, .max_rule_num = count};
    struct rte_acl_ctx *context = rte_acl_create(&parameters);
    if (context == NULL) {
        *error = -rte_errno;
        return NULL;
    }
    *error = 0;
    for (uint32_t index = 0; index < count && *error == 0; index++)
        *error = rte_acl_add_rules(context, compiled(rules, index), 1);
    struct rte_acl_config config = {.num_categories = 1, .num_fields = count_of_fields};
    memcpy(config.defs, definitions, count_of_fields * sizeof *definitions);
    if (*error == 0) *error = rte_acl_build(context, &config);
    if (*error == 0) return context;
    rte_acl_free(context);
    return NULL;
}

static const struct rte_acl_rule *compiled_at(const void *rules, uint32_t index) {
    static _Thread_local struct flow_rule rule;
    rule = compile((const cdpdk_rule *)rules + index);
    return (const struct rte_acl_rule *)&rule;
}

void *cdpdk_classifier_create(const char *name, const cdpdk_rule *rules, uint32_t count, int *error) {
    return build(name, RTE_ACL_RULE_SZ(FIELDS), fields, FIELDS, compiled_at, rules, count, error);
}

// The same for IPv6: an address is four fields.
enum {
    FIELD6_PROTOCOL, FIELD6_SOURCE, FIELD6_DESTINATION = FIELD6_SOURCE + 4, FIELD6_SOURCE_PORT = FIELD6_DESTINATION + 4,
    FIELD6_DESTINATION_PORT, FIELD6_VISIBLE, FIELDS6
};
RTE_ACL_RULE_DEF(flow_rule6, FIELDS6);

#define FIELD6(number, kind, member, octets, input) \
    [number] = {.type = kind, .size = octets, .field_index = number, .input_index = input, \
                .offset = offsetof(cdpdk_flow_key6, member)}

static const struct rte_acl_field_def fields6[FIELDS6] = {
    FIELD6(FIELD6_PROTOCOL, RTE_ACL_FIELD_TYPE_BITMASK, protocol, 1, 0),
    FIELD6(FIELD6_SOURCE + 0, RTE_ACL_FIELD_TYPE_MASK, source[0], 4, 1),
    FIELD6(FIELD6_SOURCE + 1, RTE_ACL_FIELD_TYPE_MASK, source[1], 4, 2),
    FIELD6(FIELD6_SOURCE + 2, RTE_ACL_FIELD_TYPE_MASK, source[2], 4, 3),
    FIELD6(FIELD6_SOURCE + 3, RTE_ACL_FIELD_TYPE_MASK, source[3], 4, 4),
    FIELD6(FIELD6_DESTINATION + 0, RTE_ACL_FIELD_TYPE_MASK, destination[0], 4, 5),
    FIELD6(FIELD6_DESTINATION + 1, RTE_ACL_FIELD_TYPE_MASK, destination[1], 4, 6),
    FIELD6(FIELD6_DESTINATION + 2, RTE_ACL_FIELD_TYPE_MASK, destination[2], 4, 7),
    FIELD6(FIELD6_DESTINATION + 3, RTE_ACL_FIELD_TYPE_MASK, destination[3], 4, 8),
    FIELD6(FIELD6_SOURCE_PORT, RTE_ACL_FIELD_TYPE_RANGE, source_port, 2, 9),
    FIELD6(FIELD6_DESTINATION_PORT, RTE_ACL_FIELD_TYPE_RANGE, destination_port, 2, 9),
    FIELD6(FIELD6_VISIBLE, RTE_ACL_FIELD_TYPE_BITMASK, ports_visible, 4, 10),
};

static void compile_address(struct rte_acl_field *field, const uint32_t *words, uint8_t length) {
    for (int word = 0; word < 4; word++) {
        int bits = length - 32 * word;
        field[word].value.u32 = words[word];
        field[word].mask_range.u32 = bits < 0 ? 0 : bits > 32 ? 32 : bits;
    }
}

static const struct rte_acl_rule *compiled6_at(const void *rules, uint32_t index) {
    static _Thread_local struct flow_rule6 compiled;
    const cdpdk_rule6 *rule = (const cdpdk_rule6 *)rules + index;
    memset(&compiled, 0, sizeof compiled);
    compiled.data.category_mask = 1;
    compiled.data.priority = rule->priority;
    compiled.data.userdata = rule->result;
    compiled.field[FIELD6_PROTOCOL].value.u8 = rule->protocol;
    compiled.field[FIELD6_PROTOCOL].mask_range.u8 = rule->protocol_mask;
    compile_address(&compiled.field[FIELD6_SOURCE], rule->source, rule->source_length);
    compile_address(&compiled.field[FIELD6_DESTINATION], rule->destination, rule->destination_length);
    compiled.field[FIELD6_SOURCE_PORT].value.u16 = rule->source_port_low;
    compiled.field[FIELD6_SOURCE_PORT].mask_range.u16 = rule->source_port_high;
    compiled.field[FIELD6_DESTINATION_PORT].value.u16 = rule->destination_port_low;
    compiled.field[FIELD6_DESTINATION_PORT].mask_range.u16 = rule->destination_port_high;
    compiled.field[FIELD6_VISIBLE].value.u32 = rule->ports_visible;
    compiled.field[FIELD6_VISIBLE].mask_range.u32 = rule->ports_visible_mask;
    return (const struct rte_acl_rule *)&compiled;
}

void *cdpdk_classifier6_create(const char *name, const cdpdk_rule6 *rules, uint32_t count, int *error) {
    return build(name, RTE_ACL_RULE_SZ(FIELDS6), fields6, FIELDS6, compiled6_at, rules, count, error);
}

void cdpdk_classifier_free(void *classifier) { rte_acl_free(classifier); }

void cdpdk_classify(void *classifier, const cdpdk_flow_key *const *keys, uint32_t *results, uint32_t count) {
    // Fails for wrong arguments only; then every packet has no policy.
    if (rte_acl_classify(classifier, (const uint8_t **)(uintptr_t)keys, results, count, 1) != 0)
        memset(results, 0, count * sizeof *results);
}

void cdpdk_classify6(void *classifier, const cdpdk_flow_key6 *const *keys, uint32_t *results, uint32_t count) {
    if (rte_acl_classify(classifier, (const uint8_t **)(uintptr_t)keys, results, count, 1) != 0)
        memset(results, 0, count * sizeof *results);
}

// ---- routes: rte_fib ------------------------------------------------------------------------------------------------

void *cdpdk_fib_create(const char *name, uint32_t routes, uint32_t next_hops, uint32_t tables) {
    struct rte_fib_conf conf = {.type = RTE_FIB_DIR24_8, .default_nh = 0, .max_routes = (int)routes};
    // An entry numbers next hops and tables of 256 with all its bits but one. Of one octet each it is half the memory,
    // which is written whole at once and looked at with every packet.
    conf.dir24_8.nh_sz = next_hops <= 128 && tables <= 127 ? RTE_FIB_DIR24_8_1B : RTE_FIB_DIR24_8_2B;
    // One more than there will be: to take the last, DPDK wants to see a free one behind it (install_to_fib).
    uint32_t most = conf.dir24_8.nh_sz == RTE_FIB_DIR24_8_1B ? 127 : 32767;
    conf.dir24_8.num_tbl8 = tables < most ? tables + 1 : most;
    return rte_fib_create(name, SOCKET_ID_ANY, &conf);
}

void cdpdk_fib_free(void *fib) { rte_fib_free(fib); }

int cdpdk_fib_add(void *fib, uint32_t address, uint8_t length, uint64_t next_hop) {
    return rte_fib_add(fib, address, length, next_hop);
}

void cdpdk_fib_lookup(void *fib, uint32_t *addresses, uint64_t *next_hops, uint32_t count) {
    rte_fib_lookup_bulk(fib, addresses, next_hops, (int)count);
}

void *cdpdk_fib6_create(const char *name, uint32_t routes, uint32_t tbl8s) {
    struct rte_fib6_conf conf = {.type = RTE_FIB6_TRIE, .default_nh = 0, .max_routes = (int)routes};
    // Two octets an entry also number the tables of 256; with more of those an entry has four.
    conf.trie.nh_sz = tbl8s <= 32767 ? RTE_FIB6_TRIE_2B : RTE_FIB6_TRIE_4B;
    conf.trie.num_tbl8 = tbl8s;
    return rte_fib6_create(name, SOCKET_ID_ANY, &conf);
}

void cdpdk_fib6_free(void *fib) { rte_fib6_free(fib); }

int cdpdk_fib6_add(void *fib, const uint8_t *address, uint8_t length, uint64_t next_hop) {
    return rte_fib6_add(fib, address, length, next_hop);
}

void cdpdk_fib6_lookup(void *fib, void *addresses, uint64_t *next_hops, uint32_t count) {
    rte_fib6_lookup_bulk(fib, (uint8_t(*)[RTE_FIB6_IPV6_ADDR_SIZE])addresses, next_hops, (int)count);
}
