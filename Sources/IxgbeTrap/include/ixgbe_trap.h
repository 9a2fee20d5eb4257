// Nothing to call: preloaded into a DPDK program, the library finds the model's BAR by itself.
#pragma once
