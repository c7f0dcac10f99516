package import JSON
import Text

/// Places where a model's numbers are infinite or no numbers: how many of how many, and where the first one is.
///
/// They are in no mean, so a mean says nothing about a model without them.
package struct NonFinite: Sendable, Equatable {
  /// A position of a text, or of a prompt's output.
  package struct Place: Sendable, Equatable, Comparable {
    /// Index of the text, or of the prompt.
    package let text: Int
    package let position: Int

    package init(text: Int, position: Int) {
      self.text = text
      self.position = position
    }

    package static func < (a: Place, b: Place) -> Bool { (a.text, a.position) < (b.text, b.position) }
  }

  package private(set) var count = 0
  /// Places that were looked at.
  package private(set) var total = 0
  /// The first by text and position, whatever the order in which they came; nil where all is finite.
  package private(set) var first: Place?

  package init() {}

  package mutating func add(isFinite: Bool, at place: Place) {
    total += 1
    guard !isFinite else { return }
    count += 1
    first = first.map { min($0, place) } ?? place
  }
}

/// An entry of `non_finite[]` of a report: whose numbers are not finite, in which section, and where.
package struct NonFiniteFinding: Sendable, Equatable {
  /// What was looked at: `masked`, `routing`, `trajectories.along_reference`, …
  package let section: String
  /// `reference`, `candidate`, `floor`, or the mixture of the two that a section measures.
  package let model: String
  package let path: String
  package let tally: NonFinite
  /// What the first place is in, for people: "`questions.jsonl`, line 3".
  package let source: String
  /// The first layer behind which hidden states, or in which router scores, are not finite; nil where that is not known.
  package let layer: Int?

  package init(section: String, model: String, path: String, tally: NonFinite, source: String, layer: Int? = nil) {
    self.section = section
    self.model = model
    self.path = path
    self.tally = tally
    self.source = source
    self.layer = layer
  }

  package var json: JSONValue {
    [
      "section": .string(section), "model": .string(model), "path": .string(path), "count": JSONValue(tally.count),
      "of": JSONValue(tally.total), "text": JSONValue(tally.first?.text), "position": JSONValue(tally.first?.position),
      "source": .string(source), "layer": JSONValue(layer),
    ]
  }

  /// What is not finite, how much of it and where it begins, for `notes[]`.
  package var sentence: String { Self.sentence(json) }

  package var summary: String { Self.summary(json) }

  /// What is not finite, without where: `the scores of the candidate are infinite or not numbers at 39 of 264 masked
  /// positions`.
  ///
  /// - Parameter finding: an entry of `non_finite[]`.
  static func summary(_ finding: JSONValue) -> String {
    let (count, total) = (finding.at("count")?.int ?? 0, finding.at("of")?.int ?? 0)
    let scores = finding.text(at: "section") == "routing" ? "router scores" : "scores"
    return "the \(scores) of \(model(finding)) are infinite or not numbers at \(Format.count(count)) of "
      + "\(Format.count(total)) \(places(finding))"
  }

  static func sentence(_ finding: JSONValue) -> String {
    var parts = [summary(finding)]
    if let position = finding.at("position")?.int {
      parts.append("the first is position \(Format.count(position)) of \(finding.text(at: "source") ?? "its text")")
    }
    if let layer = finding.at("layer")?.int {
      parts.append(
        layer < 0 ? "the embeddings are not finite there" : "layer \(layer) is the first whose numbers are not finite")
    }
    return parts.joined(separator: "; ") + "; no mean counts these"
  }

  private static func model(_ finding: JSONValue) -> String {
    let path = finding.text(at: "path").map { " `\($0)`" } ?? ""
    switch finding.text(at: "model") ?? "" {
    case "reference": return "the reference\(path)"
    case "candidate": return "the candidate\(path)"
    case "floor": return "the reference\(path) with noise"
    case "candidate_routes": return "the reference\(path) on the candidate's routes"
    case "candidate_weights": return "the candidate\(path) on the reference's routes"
    case let part: return "the reference with the candidate's \(part)"
    }
  }

  private static func places(_ finding: JSONValue) -> String {
    switch finding.text(at: "section") ?? "" {
    case "routing": "rows of mixture layers"
    case "trajectories.along_reference":
      finding.text(at: "model") == "reference" ? "committed positions" : "states along the reference's path"
    case "preferences": "masked positions of rejected answers"
    case let section where section.hasPrefix("block_lengths"): "masked positions of `\(section)`"
    default: "masked positions"
    }
  }
}
