// Drives the Verilated accelerator behind its UART: every bit takes its cycles. Loaded by
// serial_simulator.py.

#include <cstdint>
#include <memory>

#include "Voarlock.h"
#include "verilated.h"

namespace {

struct Simulation {
    VerilatedContext context;
    std::unique_ptr<Voarlock> top;
    double cycles_per_bit = 0;
    uint64_t cycle = 0;

    // The far end's transmitter: ten bits from `sent_from` on, `bits` of them not begun yet.
    unsigned shift = 0, bits = 0;
    double next_edge = 0;

    // The far end's receiver: samples in the middle of bits.
    bool receiving = false;
    unsigned sampled = 0, collected = 0;
    double next_sample = 0;

    void clock() {
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        context.timeInc(2);
        ++cycle;
    }

    ~Simulation() { top->final(); }
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT Simulation *oarlock_create(double cycles_per_bit) {
    auto *simulation = new Simulation;
    simulation->cycles_per_bit = cycles_per_bit;
    simulation->top = std::make_unique<Voarlock>(&simulation->context, "oarlock");
    simulation->top->rx = 1;
    return simulation;
}

EXPORT void oarlock_destroy(Simulation *simulation) { delete simulation; }

// What is on its way from the far end goes on: only the board begins anew.
EXPORT void oarlock_reset(Simulation *simulation) {
    for (int cycle = 0; cycle < 16; ++cycle) {
        simulation->top->rst = cycle < 8;
        simulation->clock();
    }
    simulation->receiving = false;
}

// Runs for so many cycles, less if the input was not empty and is sent, or if the output is full.
// Returns the cycles that it took.
EXPORT uint64_t oarlock_run(Simulation *simulation, const uint8_t *input,
                                   uint64_t input_count, uint8_t *output, uint64_t output_count,
                                   uint64_t max_cycles, uint64_t *sent_count,
                                   uint64_t *received_count) {
    auto &s = *simulation;
    auto &top = *s.top;
    uint64_t sent = 0, received = 0, cycles = 0;
    while (cycles < max_cycles && received < output_count) {
        const double now = static_cast<double>(s.cycle);
        if (now >= s.next_edge) {
            if (s.bits == 0 && sent < input_count) {
                s.shift = input[sent++] << 1 | 0x200;
                s.bits = 10;
                // After a pause bits begin with this cycle; without one they keep their fractions.
                if (now >= s.next_edge + 1) s.next_edge = now;
            } else if (s.bits == 0 && input_count) {
                break;
            }
            if (s.bits != 0) {
                top.rx = s.shift & 1;
                s.shift >>= 1;
                --s.bits;
                s.next_edge += s.cycles_per_bit;
            }
        }

        s.clock();
        ++cycles;

        if (!s.receiving) {
            if (!top.tx) {
                s.receiving = true;
                s.sampled = s.collected = 0;
                s.next_sample = static_cast<double>(s.cycle) + s.cycles_per_bit * 0.5;
            }
        } else if (static_cast<double>(s.cycle) >= s.next_sample) {
            s.collected |= static_cast<unsigned>(top.tx) << s.sampled;
            s.next_sample += s.cycles_per_bit;
            if (++s.sampled == 10) {
                s.receiving = false;
                // A stop bit that is low: not a byte.
                if (s.collected & 0x200) output[received++] = s.collected >> 1 & 0xFF;
            }
        }
    }
    *sent_count = sent;
    *received_count = received;
    return cycles;
}
