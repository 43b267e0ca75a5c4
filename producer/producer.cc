#include "producer/producer.h"

#include <utility>

#include "producer/engine.h"

namespace lockstep {

Producer::Producer(ProducerOptions options, std::unique_ptr<Source> source,
                   std::unique_ptr<Ledger> ledger)
    : engine_(std::make_unique<Engine>(std::move(options), std::move(source), std::move(ledger),
                                       stop_)) {}

Producer::~Producer() = default;

absl::Status Producer::Run() { return engine_->Run(); }

ProducerProgress Producer::progress() const { return engine_->progress(); }

}  // namespace lockstep
