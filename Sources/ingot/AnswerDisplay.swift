import Decoding

/// What is seen of an answer while it comes. At the end its whole text is on stdout exactly once.
protocol AnswerDisplay {
  /// The prompt goes through the model.
  mutating func begin(promptCount: Int)
  /// After each step: blocks just finished, and the block under work with its masks.
  mutating func update(_ canvas: AnswerCanvas, _ record: StepRecord)
  /// - Parameter text: all of the answer, or what was finished of it.
  mutating func end(text: [UInt8])
}

/// The generated part of the canvas as steps go by.
struct AnswerCanvas {
  let promptCount: Int
  let blockLength: Int
  let generationLength: Int
  let mask: Int
  let stops: [Int]
  /// Tokens of finished blocks.
  private(set) var finished: [Int] = []
  /// Generated tokens of the block under work.
  private(set) var current: [Int] = []
  private(set) var block: Int?
  /// When the first block was last worked on.
  private(set) var firstBlockEnd: Double?
  private var firstBlock: Int?

  init(promptCount: Int, options: DecodingOptions, special: SpecialTokens) {
    self.promptCount = promptCount
    blockLength = options.blockLength
    generationLength = options.generationLength
    mask = special.mask
    stops = special.stops
  }

  mutating func apply(_ record: StepRecord, _ tokens: [Int]) {
    if block != record.block {
      finished += current
      block = record.block
      firstBlock = firstBlock ?? record.block
    }
    current = Array(tokens.dropFirst(max(0, promptCount - record.block * blockLength)))
    if record.block == firstBlock { firstBlockEnd = Clock.seconds }
  }

  /// The block under work as far as the answer may reach: not beyond a stop token or the length asked for.
  var visible: [Int] {
    let tokens = current.prefix(max(0, generationLength - finished.count))
    return Array(tokens.firstIndex(where: stops.contains).map { tokens[...$0] } ?? tokens)
  }

  /// Everything before the first mask.
  var settled: [Int] {
    Array(finished.prefix(generationLength)) + visible.prefix { $0 != mask }
  }
}

/// For pipes and files: finished blocks, as they are.
struct PlainDisplay: AnswerDisplay {
  let model: RunModel
  /// Bytes at the end that are not printed yet, because they may be the beginning of what ends the answer.
  private let withheld: Int
  /// Tokens whose text is printed or pending.
  private var taken = 0
  private var printedByteCount = 0
  /// Bytes that wait for what the next block has: of a character, and those withheld.
  private var pending: [UInt8] = []

  init(model: RunModel, stops: StopStrings) {
    self.model = model
    withheld = stops.longestBeginning
  }

  mutating func begin(promptCount: Int) {}

  mutating func update(_ canvas: AnswerCanvas, _ record: StepRecord) {
    guard canvas.finished.count > taken else { return }
    pending += model.text(of: canvas.finished[taken...])
    taken = canvas.finished.count
    let free = pending.prefix(max(0, pending.count - withheld))
    let whole = free.count - Array(free).unfinishedCharacterCount
    Console.data(Array(pending[..<whole]))
    printedByteCount += whole
    pending.removeFirst(whole)
  }

  mutating func end(text: [UInt8]) { Console.data(text.dropFirst(printedByteCount) + [UInt8(ascii: "\n")]) }
}

/// For `--json`: nothing before the end.
struct SilentDisplay: AnswerDisplay {
  mutating func begin(promptCount: Int) {}
  mutating func update(_ canvas: AnswerCanvas, _ record: StepRecord) {}
  mutating func end(text: [UInt8]) {}
}

extension [UInt8] {
  /// Bytes at the end that start a UTF-8 character and lack its rest.
  var unfinishedCharacterCount: Int {
    for count in 1...4 where count <= self.count {
      let byte = self[self.count - count]
      if byte < 0x80 { return 0 }
      guard byte >= 0xC0 else { continue }
      let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
      return length > count ? count : 0
    }
    return 0
  }
}
