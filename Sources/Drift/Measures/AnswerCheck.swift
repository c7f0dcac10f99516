package import Patterns

/// How a generated text is held against the expected answer.
package enum AnswerMatch: String, Sendable, CaseIterable {
  /// The same text, without white space at its ends.
  case exact
  /// The answer, without white space at its ends, occurs in the text.
  case contains
  /// The number of the text has the value of that of the answer: the first one right behind `####`, as answers of GSM8K end, or else
  /// the last one.
  case numeric
  /// The answer is a regular expression that matches somewhere in the text.
  case regex
}

/// An expected answer against which nothing can be held.
package enum AnswerError: Error, Sendable, Equatable {
  case invalidPattern(line: Int, RegexError)
  case noNumber(line: Int)
  /// It would be found in every text.
  case empty(line: Int)
}

/// An expected answer, ready to be looked for.
package struct AnswerCheck {
  private enum Expected {
    case text(String)
    case part(String)
    case number(Double)
    case pattern(SearchPattern)
  }
  private let expected: Expected

  /// - Parameter line: of the answer in its file, from 1; named in errors.
  /// - Throws: ``AnswerError``.
  package init(_ match: AnswerMatch, answer: String, line: Int) throws(AnswerError) {
    switch match {
    case .exact: expected = .text(answer.trimmed)
    case .contains:
      guard !answer.trimmed.isEmpty else { throw .empty(line: line) }
      expected = .part(answer.trimmed)
    case .numeric:
      guard let number = answer.finalNumber else { throw .noNumber(line: line) }
      expected = .number(number)
    case .regex:
      guard !answer.isEmpty else { throw .empty(line: line) }
      do throws(RegexError) { expected = .pattern(try SearchPattern(answer)) } catch {
        throw .invalidPattern(line: line, error)
      }
    }
  }

  package func accepts(_ text: String) -> Bool {
    switch expected {
    case .text(let answer): text.trimmed == answer
    case .part(let answer): text.contains(answer)
    case .number(let answer): text.finalNumber == answer
    case .pattern(let pattern): pattern.occurs(in: text)
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    var rest = drop(while: \.isWhitespace)
    while rest.last?.isWhitespace == true { rest.removeLast() }
    return String(rest)
  }

  /// The number that a text comes to.
  fileprivate var finalNumber: Double? {
    // The first: a model may go on with another question. A heading of Markdown has its number behind other words.
    if let marked = matches(of: Self.markedPattern).first { return String(self[marked]).numbers.last }
    return numbers.last
  }

  /// The values of the numbers written in digits: a sign, `$`, digits with or without commas between them, a fraction. A point behind
  /// one is the sentence's, and a hyphen behind a letter or digit is no sign.
  private var numbers: [Double] { matches(of: Self.pattern).compactMap(number) }

  private func number(_ found: Range<Index>) -> Double? {
    var digits = self[found].filter { $0 != "," && $0 != "$" }
    var sign = 1.0
    if let first = digits.first, "-−+".contains(first) {
      let before = self[..<found.lowerBound].last
      if first != "+", !(before.map { $0.isLetter || $0.isNumber } ?? false) { sign = -1 }
      digits.removeFirst()
    }
    return Double(digits).map { sign * $0 }
  }

  private static let numberPattern = #"[-−+]?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)"#
  private static let pattern = try? SplitRegex(numberPattern)
  private static let markedPattern = try? SplitRegex("#### +" + numberPattern)

  /// The matches, one after another.
  private func matches(of regex: SplitRegex?) -> [Range<Index>] {
    let text = Array(utf8)
    guard var matcher = regex.map({ RegexMatcher($0, byteCount: text.count) }) else { return [] }
    var (found, offset) = ([Range<Int>](), 0)
    while offset < text.count {
      if let end = matcher.match(text, offset..<text.count) {
        found.append(offset..<end)
        offset = end
      } else {
        offset += text.scalar(at: offset).count
      }
    }
    return found.map {
      utf8.index(startIndex, offsetBy: $0.lowerBound)..<utf8.index(startIndex, offsetBy: $0.upperBound)
    }
  }
}
