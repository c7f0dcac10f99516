import Decoding
import Text

/// For a terminal: the block under work, redrawn in place while its masks fill in.
///
/// The region that is redrawn starts with the last line of the finished text, as long as that is open, so that it always
/// starts in the first column. Its rows are wrapped here, with the terminal's own wrapping switched off; so the number of
/// rows to go back is exact even where the width of a character was guessed wrongly. Text is printed for good line by line
/// and as it is: the terminal wraps it, and what is copied has no added line ends.
struct LiveDisplay: AnswerDisplay {
  let model: RunModel
  let showsStatus: Bool
  private let start = Clock.seconds
  private var lastFrame = 0.0
  /// Rows of the region on the screen now.
  private var rowCount = 0
  /// Tokens that `open` or the text printed for good has.
  private var taken = 0
  /// Bytes of the finished text that follow its last line end.
  private var open: [UInt8] = []
  /// Bytes of the text printed for good.
  private var printedByteCount = 0

  private static let interval = 1.0 / 60

  init(model: RunModel, showsStatus: Bool) {
    self.model = model
    self.showsStatus = showsStatus
  }

  mutating func begin(promptCount: Int) {
    draw(text: [], status: "reading \(Format.count(promptCount)) tokens of prompt")
  }

  mutating func update(_ canvas: AnswerCanvas, _ record: StepRecord) {
    var printed: [UInt8] = []
    if canvas.finished.count > taken {
      open += model.text(of: canvas.finished[taken...])
      taken = canvas.finished.count
      if let end = open.lastIndex(of: UInt8(ascii: "\n")) {
        printed = Array(open[...end])
        open.removeFirst(end + 1)
        printedByteCount += end + 1
      }
    }
    let now = Clock.seconds
    guard !printed.isEmpty || now - lastFrame >= Self.interval else { return }
    lastFrame = now
    if !printed.isEmpty { erase(then: TerminalText.printable(printed)) }

    let visible = canvas.visible
    let fresh = Set(record.commits.map { $0.position - canvas.promptCount - canvas.finished.count })
    var runs = [(open, TerminalText.Style.settled)]
    for (offset, token) in visible.enumerated() {
      let isMask = token == canvas.mask
      let style: TerminalText.Style = isMask ? .mask : fresh.contains(offset) ? .fresh : .settled
      let bytes = isMask ? Array("░".utf8) : model.text(of: [token])
      // A character may take several tokens, so neighbours are decoded together.
      if runs[runs.count - 1].1 == style { runs[runs.count - 1].0 += bytes } else { runs.append((bytes, style)) }
    }
    let masks = canvas.current.count { $0 == canvas.mask }
    let tokens = canvas.finished.count + canvas.current.count - masks
    let rate = Double(tokens) / max(now - start, 1e-9)
    let block = (canvas.finished.count + canvas.promptCount % canvas.blockLength) / canvas.blockLength + 1
    draw(
      text: runs,
      status: (canvas.mask != SpecialTokens.noMask ? "block \(block) · \(masks) masked · " : "")
        + "\(Format.count(tokens)) token\(tokens == 1 ? "" : "s") · "
        + "\(Format.fixed(rate, rate < 10 ? 1 : 0))/s")
  }

  mutating func end(text: [UInt8]) {
    erase(then: TerminalText.printable(Array(text.dropFirst(printedByteCount))) + "\n")
  }

  private mutating func draw(text: [(bytes: [UInt8], style: TerminalText.Style)], status: String) {
    guard let size = Console.size else { return }
    var layout = TerminalText(columns: size.columns, coloured: Console.wantsColour)
    for run in text { layout.append(run.bytes, run.style) }
    var rows = layout.rows
    if showsStatus, size.rows > 1 {
      rows = rows.suffix(size.rows - 1)
      if rows == [""] { rows = [] }
      var line = TerminalText(columns: size.columns - 1, coloured: Console.wantsColour)
      line.append(Array(status.utf8), .status)
      rows.append(line.rows[0])
    } else {
      rows = rows.suffix(size.rows)
    }
    // Wrapping off and on again within one write: whatever ends the process leaves the terminal as it was.
    Console.data(
      Array("\(home)\u{1B}[?7l\(rows.map { "\u{1B}[2K\($0)" }.joined(separator: "\r\n"))\u{1B}[J\u{1B}[?7h".utf8))
    rowCount = rows.count
  }

  private mutating func erase(then text: String) {
    Console.data(Array("\(rowCount > 0 ? home + "\u{1B}[J" : "")\(text)".utf8))
    rowCount = 0
  }

  /// To the first column of the region's first row.
  private var home: String { rowCount > 1 ? "\r\u{1B}[\(rowCount - 1)A" : "\r" }
}
