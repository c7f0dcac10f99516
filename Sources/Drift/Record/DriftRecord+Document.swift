import Decoding
package import JSON
import Pack

// The JSON of a record (`Formats/drift-record.md` §3).

extension DriftRecord {
  static func schema(version: Int = version) -> String { "ingot.drift-record/\(version)" }

  /// The document.
  ///
  /// - Parameter tool: version of what writes it.
  package func document(tool: String) -> JSONValue {
    [
      "schema": JSONValue(Self.schema()), "ingot": JSONValue(tool),
      "holds": .array((scores == nil ? [] : ["masked"]) + (trajectories == nil ? [] : ["trajectories"])),
      "reference": [
        "path": JSONValue(model.path), "kind": JSONValue(model.kind), "hash": JSONValue(XXH3.text(model.hash)),
        "bytes": JSONValue(model.byteCount), "bits_per_weight": model.bitsPerWeight.map { JSONValue($0) } ?? .null,
        "experts": .array(model.experts.map { JSONValue($0) }),
      ],
      "tokenizer": JSONValue(XXH3.text(model.tokenizerHash)),
      "sizes": [
        "vocabulary": JSONValue(model.sizes.vocabulary), "layers": JSONValue(model.sizes.layers),
        "hidden": JSONValue(model.sizes.hidden), "experts": JSONValue(model.sizes.experts),
      ],
      "computation": JSONValue(encoding: model.computation), "options": options.json,
      "prompts": ["source": JSONValue(promptSource), "list": .array(prompts.map(\.json))],
      "texts": ["source": JSONValue(textSource), "cut": JSONValue(cut), "list": .array(texts.map(\.json))],
      "pairs": .array(pairs.map { [JSONValue($0.chosen), JSONValue($0.rejected)] }),
      "outputs": trajectories.map { .array($0.outputs.map(\.recordJSON)) } ?? .null,
      "floor": floor?.recordJSON ?? .null, "notes": .array(notes.map { JSONValue($0) }),
    ]
  }
}

extension DecodingOptions.Decoder {
  /// What records and reports say of it.
  var reported: DriftReport.Editing? {
    editing.map {
      DriftReport.Editing(
        threshold: $0.threshold, maximumPostSteps: $0.maximumPostSteps, maximumSteps: $0.maximumSteps,
        delete: $0.tokens?.delete, split: $0.tokens?.split)
    }
  }
}

extension DriftRecord.Options {
  /// `options` of the document.
  package var json: JSONValue {
    [
      "mask_ratios": .array(maskRatios.map { JSONValue($0) }), "seed": JSONValue(seed),
      "raw": JSONValue(encoding: isRaw), "mask": JSONValue(special.mask),
      "stops": .array(special.stops.map { JSONValue($0) }),
      "decoder": JSONValue(decoder), "block_length": JSONValue(decoding.blockLength),
      "steps": JSONValue(decoding.steps), "generation_length": JSONValue(decoding.generationLength),
      "threshold": JSONValue(decoding.threshold), "temperature": JSONValue(decoding.temperature),
      "top_k": decoding.topK.map { JSONValue($0) } ?? .null, "top_p": decoding.topP.map { JSONValue($0) } ?? .null,
      "sampling_seed": JSONValue(decoding.seed), "stops_early": JSONValue(decoding.stopsEarly),
      "editing": JSONValue(encoding: decoding.decoder.reported),
    ]
  }
}

extension DriftRecord.Prompt {
  fileprivate var json: JSONValue {
    let text = { (text: String?) in text.map { JSONValue($0) } ?? .null }
    return [
      "prompt": JSONValue(prompt), "answer": text(answer), "chosen": text(chosen), "rejected": text(rejected),
      "task": text(task), "line": JSONValue(line), "tokens": .array(tokens.map { JSONValue($0) }),
    ]
  }
}

extension ScoredText {
  fileprivate var json: JSONValue {
    let ends = { (range: Range<Int>) -> JSONValue in [JSONValue(range.lowerBound), JSONValue(range.upperBound)] }
    return [
      "tokens": .array(tokens.map { JSONValue($0) }), "scored": ends(scored), "maskable": ends(maskable),
    ]
  }
}

extension BlockDiffusion.Output {
  var recordJSON: JSONValue {
    [
      "tokens": .array(tokens.map { JSONValue($0) }), "forwards": JSONValue(forwards),
      "cache_passes": JSONValue(cachePasses), "stopped": JSONValue(stopped),
      "steps": .array(
        steps.map { step in
          [
            "block": JSONValue(step.block), "step": JSONValue(step.step), "masked": JSONValue(step.masked),
            "commits": .array(
              step.commits.map {
                [JSONValue($0.position), JSONValue($0.token), JSONValue($0.probability), JSONValue($0.margin)]
              }),
          ]
        }),
    ]
  }
}

extension NoiseFloor {
  fileprivate var recordJSON: JSONValue {
    let byLayer = { (numbers: [Int: Double]) -> JSONValue in
      .array(numbers.sorted { $0.key < $1.key }.map { [JSONValue($0.key), JSONValue($0.value)] })
    }
    return [
      "section": JSONValue(encoding: numbers), "routing_changed": byLayer(routingChanged),
      "layers": byLayer(layerErrors),
    ]
  }
}
