// EventSchema holds events to docs/formats/pika-event.schema.json. For tests.
#ifndef LOCKSTEP_PRODUCER_PIKA_EVENT_SCHEMA_H_
#define LOCKSTEP_PRODUCER_PIKA_EVENT_SCHEMA_H_

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <rapidjson/schema.h>
#include <rapidjson/stringbuffer.h>

#include "common/base/check.h"

namespace lockstep::pika {

class EventSchema {
 public:
  EventSchema() {
    std::ifstream in(LOCKSTEP_SOURCE_DIR "/docs/formats/pika-event.schema.json");
    std::stringstream text;
    text << in.rdbuf();
    rapidjson::Document document;
    document.Parse(text.str().c_str());
    LOCKSTEP_CHECK(!document.HasParseError(), "the schema is JSON");
    schema_ = std::make_unique<rapidjson::SchemaDocument>(document);
  }

  void ExpectValid(const std::string& event) const {
    rapidjson::Document document;
    document.Parse(event.data(), event.size());
    ASSERT_FALSE(document.HasParseError()) << event;
    rapidjson::SchemaValidator validator(*schema_);
    if (document.Accept(validator)) return;
    rapidjson::StringBuffer where;
    validator.GetInvalidDocumentPointer().StringifyUriFragment(where);
    ADD_FAILURE() << "the schema's '" << validator.GetInvalidSchemaKeyword() << "' refuses "
                  << where.GetString() << " of " << event;
  }

 private:
  std::unique_ptr<rapidjson::SchemaDocument> schema_;
};

}  // namespace lockstep::pika

#endif  // LOCKSTEP_PRODUCER_PIKA_EVENT_SCHEMA_H_
