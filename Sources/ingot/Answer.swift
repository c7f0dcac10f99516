import Decoding
import JSON
import Models
import Storage
import Text

/// A finished answer and what it cost.
struct Answer {
  enum End: String {
    /// A stop token.
    case stop
    /// As many tokens as asked for.
    case length
    /// A text that was to end it.
    case stopString = "stop_string"
    case interrupted
  }

  let tokens: [Int]
  let text: String
  let promptTokens: [Int]
  let forwards: Int
  /// Nil where the run was interrupted.
  let cachePasses: Int?
  let seconds: Double
  let secondsToFirstBlock: Double?
  let blockLength: Int
  let weights: WeightCounters
  let end: End

  var tokensPerForward: Double { forwards > 0 ? Double(tokens.count) / Double(forwards) : 0 }
  var tokensPerSecond: Double { seconds > 0 ? Double(tokens.count) / seconds : 0 }

  private func counted(_ count: Int, _ noun: String) -> String {
    "\(Format.count(count)) \(noun)\(count == 1 ? "" : "s")"
  }

  /// In one line.
  var summary: String {
    var parts = [
      counted(tokens.count, "token") + ", " + counted(forwards, "forward")
        + (forwards > 1 ? " (\(Format.fixed(tokensPerForward, 1)) each)" : ""),
      "\(Format.fixed(tokensPerSecond, tokensPerSecond < 10 ? 1 : 0)) tokens/s",
    ]
    if let secondsToFirstBlock {
      parts.append("first \(blockLength > 1 ? "block" : "token") after \(Format.fixed(secondsToFirstBlock, 2)) s")
    }
    parts.append("\(Format.bytes(weights.bytesRead)) of experts")
    if weights.evicted > 0 {
      let share = Double(weights.evicted) / Double(weights.experts)
      parts.append("\(Format.fixed(100 * share, 0)) % of uses of experts read again, since memory did not keep them")
    }
    let packed = weights.experts - weights.inPlace
    if packed > 0 {
      let found = Double(weights.hits - weights.inPlace) / Double(packed)
      parts.append("\(Format.fixed(100 * found, 0)) % of compressed ones unpacked before")
    }
    switch end {
    case .stop, .stopString: break
    case .length: parts.append("cut at --gen-length")
    case .interrupted: parts.append("interrupted")
    }
    return parts.joined(separator: ", ")
  }
}

/// Answers prompts with one set of options.
struct Answering {
  let model: RunModel
  let options: DecodingOptions
  let special: SpecialTokens
  let decoder: BlockDiffusion
  let stops: StopStrings
  let recordsExperts: Bool

  /// - Parameter place: names in errors where the options come from; nil for the command line.
  init(
    _ model: RunModel, options: DecodingOptions, special: SpecialTokens, stops: [String] = [],
    recordsExperts: Bool = false, place: String? = nil
  ) throws(Failure) {
    self.model = model
    self.options = options
    self.special = special
    self.stops = StopStrings(stops, model.tokenizer)
    self.recordsExperts = recordsExperts
    do throws(DecodingError) {
      var decoder = try BlockDiffusion(
        model.model, options: options, special: special, isInterrupted: { Interrupt.isRequested })
      decoder.endsAnswer = self.stops.endsAnswer
      self.decoder = decoder
    } catch {
      var failure = Failure(error, prompt: "", longest: 0)
      failure.place = failure.place ?? place
      throw failure
    }
  }

  /// Refuses a prompt that cannot be answered.
  ///
  /// - Parameter areGiven: whether the tokens were given as such, rather than made from a text.
  func check(_ prompt: [Int], from source: String, areGiven: Bool = false) throws(Failure) {
    do throws(DecodingError) { try decoder.check(prompt: prompt) } catch {
      throw Failure(
        error, prompt: source, longest: longest(after: prompt), tokenizer: areGiven ? nil : model.tokenizer)
    }
  }

  private func longest(after prompt: [Int]) -> Int {
    model.configuration.maximumPositions / options.blockLength * options.blockLength - prompt.count
  }

  func answer(
    _ prompt: [Int], display: inout some AnswerDisplay, trace: TraceFile?
  ) throws(Failure) -> Answer {
    let start = Clock.seconds
    let before = model.weights.counters
    var canvas = AnswerCanvas(promptCount: prompt.count, options: options, special: special)
    var forwards = 0
    var traceError: FileError?
    var output: BlockDiffusion.Output?
    display.begin(promptCount: prompt.count)
    do throws(DecodingError) {
      // What is finished of the answer is shown.
      output = try Interrupt.lookingOut { () throws(DecodingError) in
        try decoder.decode(prompt: prompt, recordsExperts: recordsExperts) { record, tokens in
          canvas.apply(record, tokens)
          forwards += 1
          traceError = trace?.appendResult(record)
          display.update(canvas, record)
          return traceError == nil && !Interrupt.isRequested
        }
      }
    } catch {
      guard error == .interrupted else {
        display.end(text: stops.cut(canvas.settled, .interrupted).text)
        throw Failure(error, prompt: "", longest: 0, model: model.path)
      }
    }
    let (tokens, text, end) = stops.cut(
      output?.tokens ?? canvas.settled, output.map { $0.stopped ? .stop : .length } ?? .interrupted)
    let seconds = Clock.seconds - start
    display.end(text: text)
    if let traceError { throw Failure(trace: traceError) }
    do throws(ModelError) { try model.weights.requireUnchanged() } catch { throw Failure(error) }
    var counters = model.weights.counters
    counters.experts -= before.experts
    counters.hits -= before.hits
    counters.inPlace -= before.inPlace
    counters.evicted -= before.evicted
    counters.bytesRead -= before.bytesRead
    return Answer(
      tokens: tokens, text: String(decoding: text, as: UTF8.self), promptTokens: prompt,
      forwards: forwards, cachePasses: output?.cachePasses, seconds: seconds,
      secondsToFirstBlock: canvas.firstBlockEnd.map { $0 - start }, blockLength: options.blockLength,
      weights: counters, end: end)
  }
}

extension TraceFile {
  /// What went wrong, nil when the line is written.
  fileprivate func appendResult(_ record: StepRecord) -> FileError? {
    do throws(FileError) {
      try append(record)
      return nil
    } catch { return error }
  }
}
