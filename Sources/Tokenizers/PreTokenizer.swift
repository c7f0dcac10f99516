import JSON
import Patterns

/// Cuts text into the pieces inside which tokens are merged: one or more splits by pattern, then `ByteLevel`.
struct PreTokenizer: Sendable {
  /// The pattern of GPT-2, which `ByteLevel` applies when it is told to use its own.
  static let gpt2Pattern = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  private struct Split: Sendable {
    let regex: SplitRegex
    let pattern: String
    /// Whether what lies between matches, or with `invert` the matches themselves, is dropped.
    let dropsMatches: Bool, dropsGaps: Bool
  }

  private var splits: [Split] = []

  /// Whether some text belongs to no piece.
  var drops: Bool { splits.contains { $0.dropsMatches || $0.dropsGaps } }

  /// - Throws: ``TokenizerError/unsupported(_:what:)`` for other kinds and behaviours,
  ///   ``TokenizerError/pattern(_:pattern:position:reason:)`` for expressions outside the syntax of ``RegexParser``.
  init(_ field: Field) throws(TokenizerError) {
    var isByteLevel = false
    try read(field, &isByteLevel)
    guard isByteLevel else { throw field.unsupported("a pre-tokenizer without `ByteLevel`") }
  }

  private mutating func read(_ field: Field, _ isByteLevel: inout Bool) throws(TokenizerError) {
    let type = try field.type()
    // After `ByteLevel` the other library sees letters that stand for bytes.
    guard !isByteLevel else { throw field.unsupported("pre-tokenizer `\(type)` after `ByteLevel`") }
    switch type {
    case "Sequence":
      for element in try field.required("pretokenizers").elements() { try read(element, &isByteLevel) }
    case "Split": splits.append(try Self.split(field))
    case "ByteLevel":
      isByteLevel = true
      guard try !field.flag("add_prefix_space") else {
        throw field.unsupported("`add_prefix_space` of pre-tokenizer `ByteLevel`")
      }
      if try field.optional("use_regex")?.bool() ?? true {
        let regex = try Self.regex(Self.gpt2Pattern, field)
        splits.append(.init(regex: regex, pattern: Self.gpt2Pattern, dropsMatches: false, dropsGaps: false))
      }
    default: throw field.unsupported("pre-tokenizer `\(type)`")
    }
  }

  private static func split(_ field: Field) throws(TokenizerError) -> Split {
    let behavior = try field.required("behavior").string()
    guard ["Isolated", "Removed"].contains(behavior) else { throw field.unsupported("split behavior `\(behavior)`") }
    let isInverted = try field.flag("invert")
    let pattern = try field.required("pattern")
    let regex: SplitRegex
    let text: Field
    if let literal = try pattern.optional("String") {
      text = literal
      guard try !text.string().isEmpty else { throw text.unsupported("an empty split pattern") }
      regex = SplitRegex(literal: try text.string())
    } else {
      text = try pattern.required("Regex")
      regex = try Self.regex(try text.string(), text)
    }
    let removes = behavior == "Removed"
    return Split(
      regex: regex, pattern: try text.string(), dropsMatches: removes && !isInverted, dropsGaps: removes && isInverted)
  }

  private static func regex(_ pattern: String, _ field: Field) throws(TokenizerError) -> SplitRegex {
    do throws(RegexError) {
      return try SplitRegex(pattern)
    } catch {
      throw .pattern(field.place, pattern: pattern, position: error.position, reason: error.reason)
    }
  }

  /// The splits with room to work in; one per call of `encode`.
  func makeMatchers(byteCount: Int) -> [RegexMatcher] { splits.map { RegexMatcher($0.regex, byteCount: byteCount) } }

  /// The pieces of a range of valid UTF-8, in order.
  ///
  /// - Throws: ``TokenizerError/slowPattern(_:)``.
  func pieces(
    of text: [UInt8], _ range: Range<Int>, _ matchers: inout [RegexMatcher]
  ) throws(TokenizerError) -> [Range<Int>] {
    var pieces = [range]
    for index in splits.indices {
      let split = splits[index]
      var next: [Range<Int>] = []
      next.reserveCapacity(range.count / 4)
      for piece in pieces {
        var gap = piece.lowerBound
        var offset = gap
        while offset < piece.upperBound {
          guard let end = matchers[index].match(text, offset..<piece.upperBound) else {
            if matchers[index].isExhausted { throw .slowPattern(split.pattern) }
            offset += text.scalar(at: offset).count
            continue
          }
          if gap < offset, !split.dropsGaps { next.append(gap..<offset) }
          if !split.dropsMatches { next.append(offset..<end) }
          (gap, offset) = (end, end)
        }
        if gap < offset, !split.dropsGaps { next.append(gap..<offset) }
      }
      pieces = next
    }
    return pieces
  }
}
