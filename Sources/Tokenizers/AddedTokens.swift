import Patterns

/// A token that is found in text before anything else is done to it.
struct AddedToken: Sendable {
  let id: Int
  let content: String
  /// Left out of decoded text on request.
  var isSpecial = false
  /// Looked for in normalized text; otherwise in the text as given.
  var isNormalized = false
  /// Also takes the white space before it, or after it.
  var stripsLeft = false, stripsRight = false
  /// Only where no letter, digit or mark touches it.
  var isSingleWord = false
}

/// Where in a text special tokens are found.
struct SpecialPlaces {
  var isAnywhere: Bool
  /// Not in these ranges, nor across their ends; in order.
  var contents: [Range<Int>] = []

  func allows(_ range: Range<Int>) -> Bool {
    isAnywhere && !contents.contains { $0.overlaps(range) }
  }
}

/// Finds added tokens in text: at each place the longest, from left to right.
struct AddedTokenFinder: Sendable {
  private var tokens: [AddedToken] = []
  /// A trie over bytes: child of (node, byte), and the token that ends at a node. Node 0 is the root.
  private var children: [UInt64: Int] = [:]
  private var ends: [Int?] = [nil]
  private var firstBytes = [Bool](repeating: false, count: 256)

  init() {}

  /// Whether a token may take any amount of white space with it.
  var strips: Bool { tokens.contains { $0.stripsLeft || $0.stripsRight } }

  /// `pattern` is what to look for: the token's content, normalized where the text will be. A later token replaces an
  /// earlier one with the same pattern.
  mutating func insert(_ token: AddedToken, pattern: [UInt8]) {
    guard let first = pattern.first else { return }
    firstBytes[Int(first)] = true
    var node = 0
    for byte in pattern {
      let key = UInt64(node) << 8 | UInt64(byte)
      if let child = children[key] {
        node = child
      } else {
        children[key] = ends.count
        node = ends.count
        ends.append(nil)
      }
    }
    ends[node] = tokens.count
    tokens.append(token)
  }

  enum Segment: Equatable {
    case text(Range<Int>)
    case token(Int)
  }

  /// Cuts valid UTF-8 into tokens and the text between. Special tokens stay text where they are not allowed.
  func segments(of text: [UInt8], _ range: Range<Int>, _ special: SpecialPlaces) -> [Segment] {
    guard !tokens.isEmpty else { return range.isEmpty ? [] : [.text(range)] }
    var segments: [Segment] = []
    var rest = range.lowerBound  // where the text that belongs to no token yet starts
    var offset = rest
    while offset < range.upperBound {
      guard firstBytes[Int(text[offset])], let (token, end) = longest(text, offset, range.upperBound) else {
        offset += 1
        continue
      }
      let found = offset..<end
      if token.isSpecial, !special.allows(found) {
        // What was found may begin in a message and reach over a token of the template.
        offset = special.contents.isEmpty ? end : offset + 1
        continue
      }
      offset = end
      if token.isSingleWord, Self.touchesWord(text, found, range) { continue }
      var (start, stop) = (found.lowerBound, end)
      if token.stripsLeft {
        while start > rest, case let previous = text.previousScalar(before: start), Self.isSpace(text, previous) {
          start = previous
        }
      }
      if token.stripsRight {
        while stop < range.upperBound, Self.isSpace(text, stop) { stop += text.scalar(at: stop).count }
      }
      if rest < start { segments.append(.text(rest..<start)) }
      segments.append(.token(token.id))
      // The search goes on right after the token: white space that it took may still begin the next one.
      rest = stop
    }
    if rest < range.upperBound { segments.append(.text(rest..<range.upperBound)) }
    return segments
  }

  private func longest(_ text: [UInt8], _ start: Int, _ end: Int) -> (AddedToken, end: Int)? {
    var (node, offset) = (0, start)
    var found: (AddedToken, end: Int)?
    while offset < end, let child = children[UInt64(node) << 8 | UInt64(text[offset])] {
      node = child
      offset += 1
      if let index = ends[node] { found = (tokens[index], offset) }
    }
    return found
  }

  private static func touchesWord(_ text: [UInt8], _ token: Range<Int>, _ range: Range<Int>) -> Bool {
    // `\w` of the engine that the other library searches for these with, by Unicode's recommendation.
    func isWord(_ offset: Int) -> Bool {
      guard let properties = Unicode.Scalar(text.scalar(at: offset).value)?.properties else { return false }
      return properties.isAlphabetic || properties.isJoinControl
        || [.nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation].contains(
          properties.generalCategory)
    }
    return token.lowerBound > range.lowerBound && isWord(text.previousScalar(before: token.lowerBound))
      || token.upperBound < range.upperBound && isWord(token.upperBound)
  }

  private static func isSpace(_ text: [UInt8], _ offset: Int) -> Bool {
    Unicode.Scalar.isWhitespace(text.scalar(at: offset).value)
  }
}

extension AddedToken {
  /// One element of `added_tokens` in tokenizer.json, or of `added_tokens_decoder` in the config, which gives the id.
  init(_ field: Field, id: Int) throws(TokenizerError) {
    let content = try field.required("content").string()
    guard !content.isEmpty else { throw .addedToken(field.place, token: "", reason: "is empty") }
    self.init(
      id: id, content: content, isSpecial: try field.flag("special"), isNormalized: try field.flag("normalized"),
      stripsLeft: try field.flag("lstrip"), stripsRight: try field.flag("rstrip"),
      isSingleWord: try field.flag("single_word"))
  }
}
