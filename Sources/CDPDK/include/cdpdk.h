#pragma once
#include <rte_config.h>
#include <rte_eal.h>
