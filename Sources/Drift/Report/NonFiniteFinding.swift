import Text

/// An entry of `non_finite[]` of a report: whose numbers are not finite, in which section, and where.
package struct NonFiniteFinding: Codable, Sendable, Equatable {
  /// What was looked at: `masked`, `routing`, `trajectories.along_reference`, …
  package var section: String
  /// `reference`, `candidate`, `floor`, or the mixture of the two that a section measures.
  package var model: String
  package var path: String
  package var count: Int
  /// Places that were looked at.
  package var of: Int
  /// Index of the first one's text (or prompt), and its position there.
  package var text: Int?
  package var position: Int?
  /// What the first place is in, for people: "`questions.jsonl`, line 3".
  package var source: String
  /// The first layer behind which hidden states, or in which router scores, are not finite; nil where that is not known.
  package var layer: Int?

  package init(section: String, model: String, path: String, tally: NonFinite, source: String, layer: Int? = nil) {
    self.section = section
    self.model = model
    self.path = path
    count = tally.count
    of = tally.total
    text = tally.first?.text
    position = tally.first?.position
    self.source = source
    self.layer = layer
  }

  /// What is not finite, without where: `the scores of the candidate are infinite or not numbers at 39 of 264 scored
  /// positions`.
  package var summary: String {
    let scores = section == "routing" ? "router scores" : "scores"
    return "the \(scores) of \(modelText) are infinite or not numbers at \(Format.count(count)) of "
      + "\(Format.count(of)) \(places)"
  }

  /// What is not finite, how much of it and where it begins, for `notes[]`.
  package var sentence: String {
    var parts = [summary]
    if let position { parts.append("the first is position \(Format.count(position)) of \(source)") }
    if let layer {
      parts.append(
        layer < 0 ? "the embeddings are not finite there" : "layer \(layer) is the first whose numbers are not finite")
    }
    return parts.joined(separator: "; ") + "; no mean counts these"
  }

  private var modelText: String {
    switch model {
    case "reference": "the reference `\(path)`"
    case "candidate": "the candidate `\(path)`"
    case "versus": "the other candidate `\(path)`"
    case "floor": "the reference `\(path)` with noise"
    case "candidate_routes": "the reference `\(path)` on the candidate's routes"
    case "candidate_weights": "the candidate `\(path)` on the reference's routes"
    default: "the reference with the candidate's \(model)"
    }
  }

  private var places: String {
    switch section {
    case "routing": "rows of mixture layers"
    case "trajectories.along_reference":
      model == "reference" ? "committed positions" : "states along the reference's path"
    case "preferences": "scored positions of rejected answers"
    case _ where section.hasPrefix("block_lengths"): "scored positions of `\(section)`"
    default: "scored positions"
    }
  }
}
