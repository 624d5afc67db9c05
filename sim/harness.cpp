// Drives the Verilated accelerator: one clock, a stream of words each way. Loaded by simulator.py.

#include <cstdint>
#include <memory>

#include "Voarlock.h"
#include "verilated.h"
#ifdef OARLOCK_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif defined(OARLOCK_VCD)
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

namespace {

struct Simulation {
    VerilatedContext context;
    std::unique_ptr<Voarlock> top;
#if VM_TRACE
    std::unique_ptr<Trace> trace;
#endif

    // One clock cycle in two halves; ports are driven and read between them.
    void settle() {
        top->clk = 0;
        top->eval();
        dump();
    }

    void tick() {
        top->clk = 1;
        top->eval();
        dump();
    }

    void dump() {
        context.timeInc(1);
#if VM_TRACE
        if (trace) trace->dump(context.time());
#endif
    }

    ~Simulation() {
#if VM_TRACE
        if (trace) trace->close();
#endif
        top->final();
    }
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Returns a simulation whose waves go to the file, if it is not null and this build can write any.
EXPORT Simulation *oarlock_create(const char *waves) {
    auto *simulation = new Simulation;
#if VM_TRACE
    simulation->context.traceEverOn(true);
#endif
    simulation->top = std::make_unique<Voarlock>(&simulation->context, "oarlock");
#if VM_TRACE
    if (waves) {
        simulation->trace = std::make_unique<Trace>();
        simulation->top->trace(simulation->trace.get(), 99);
        simulation->trace->open(waves);
    }
#endif
    return simulation;
}

EXPORT void oarlock_destroy(Simulation *simulation) { delete simulation; }

EXPORT void oarlock_reset(Simulation *simulation) {
    auto &top = *simulation->top;
    top.s_axis_tvalid = 0;
    top.m_axis_tready = 0;
    // The reset is registered inside: it arrives, and ends, some cycles later.
    for (int cycle = 0; cycle < 16; ++cycle) {
        top.rst = cycle < 8;
        simulation->settle();
        simulation->tick();
    }
}

// Offers words in every cycle until all are taken, and takes words until the output is full; ends
// when both is done or the cycles are used up. Returns the cycles that it took.
EXPORT uint64_t oarlock_exchange(Simulation *simulation, const uint32_t *input, uint64_t input_count,
                                 uint32_t *output, uint64_t output_count, uint64_t max_cycles,
                                 uint64_t *sent_count, uint64_t *received_count) {
    auto &top = *simulation->top;
    uint64_t sent = 0, received = 0, cycles = 0;
    while (cycles < max_cycles && (sent < input_count || received < output_count)) {
        top.s_axis_tvalid = sent < input_count;
        if (sent < input_count) top.s_axis_tdata = input[sent];
        top.m_axis_tready = received < output_count;
        simulation->settle();
        if (top.s_axis_tvalid && top.s_axis_tready) ++sent;
        if (top.m_axis_tready && top.m_axis_tvalid) output[received++] = top.m_axis_tdata;
        simulation->tick();
        ++cycles;
    }
    *sent_count = sent;
    *received_count = received;
    return cycles;
}
