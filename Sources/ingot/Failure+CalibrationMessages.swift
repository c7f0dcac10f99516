import Calibration
import Pack
import Safetensors
import Text

// Every sentence about states that fail.

extension Failure {
  init(_ error: StateError) {
    switch error {
    case .otherFile(let path):
      self.init(
        what: "this safetensors file holds no states for calibration", place: "`\(path)`",
        hint: "make a file of states with `ingot calibrate CHECKPOINT -o FILE.calibration`")
    case .model(let error): self.init(error)
    case .file(let error):
      // No room is told by its exit code.
      if case .system(let failure) = error.reason { self.init(failure) } else { self.init(error) }
    case .broken(let detail, let path):
      self.init(
        what: "the file of states is damaged: \(detail)", place: "`\(path)`",
        hint: "make it again with `ingot calibrate … --force`", code: .integrity)
    case .version(let version, let path):
      self.init(
        what: "the file of states is of version `\(version)`, which this ingot does not know", place: "`\(path)`",
        hint: "make it again with `ingot calibrate`, or update")
    case .notFinite(let layer, let text, let position):
      self.init(
        what:
          "layer \(layer) feeds its experts an infinity or a NaN, at position \(position) of text \(text)",
        hint: "a weight before it is damaged; find it with `ingot inspect CHECKPOINT --check`")
    case .journal(let error): self.init(error)
    case .part(let path):
      self.init(
        what: "this is one part of a file of states", place: "`\(path)`",
        hint: "make the file of all parts with `ingot calibrate --merge PART… -o FILE`")
    case .noPart(let path):
      self.init(
        what: "this is no part of a file of states", place: "`\(path)`",
        hint: "parts are written by `ingot calibrate … --part i/N -o PART`", code: .integrity)
    case .otherPart(let detail, let path):
      self.init(
        what: "the part does not belong to the others: \(detail)", place: "`\(path)`",
        hint: "make all parts with the same checkpoint, data and options, and give each once", code: .integrity)
    case .missingParts(let parts, let count):
      self.init(missing: parts, of: count)
    case .noRoom(let needed, let free, let path):
      self.init(.diskSpace(needed: needed, free: free, path: path))
    case .interrupted: self.init(what: "interrupted; nothing was written", code: Interrupt.status)
    }
  }

  init(otherGenerator pack: String, than checkpoint: String) {
    self.init(
      what: "`\(pack)` has another tokenizer than `\(checkpoint)`: its answers would be other words",
      hint: "give a pack of this checkpoint, or leave out --generator")
  }

  init(nothingToCalibrate path: String) {
    self.init(
      what: "there is nothing to take states on: no answers, and no text that is long enough", place: "`\(path)`",
      hint: "give each prompt an answer, or a plain text with --text")
  }

  init(calibrationNeeds needed: Int, limit: Int) {
    self.init(
      what: "this pass needs \(Format.bytes(needed)) of memory, the limit is \(Format.bytes(limit))",
      hint: "raise --max-memory to at least \((needed >> 20) + 1)MiB, or take fewer --tokens", code: .limit)
  }

  init(notCheckpoint path: String) {
    self.init(
      what: "`\(path)` is a file; states are taken of a checkpoint in full precision",
      hint: "the directory that holds config.json and the safetensors files")
  }

  init(otherModel path: String, of checkpoint: String) {
    self.init(
      what: "the states in `\(path)` are of another model than `\(checkpoint)`",
      hint: "make them of this checkpoint with `ingot calibrate`")
  }

  init(solverNeedsStates name: String) {
    self.init(
      what: "solver `\(name)` needs states that the experts were fed",
      hint: "give them with --calibration FILE, or data with --prompts or --text", code: .usage)
  }

  init(nothingToCheck source: String) {
    self.init(
      what: "there is nothing to check drift on", place: Shown.input(source),
      hint: "give --held-out prompts, or a plain text")
  }

  init(notFiniteOn source: String) {
    self.init(
      what: "a pack that was made says infinities or NaNs on these texts", place: Shown.input(source),
      hint: "look at the checkpoint with `ingot inspect CHECKPOINT --check`")
  }

  init(heldOutNeeds needed: Int, limit: Int, source: String) {
    self.init(
      what: "checking drift on these texts takes \(Format.bytes(needed)) of memory, and --max-memory leaves "
        + "\(Format.bytes(limit)) for that",
      place: Shown.input(source),
      hint: "hold out fewer texts, or raise --max-memory to at least \((4 * needed >> 20) + 1)MiB", code: .limit)
  }

  init(heldOutIsData path: String, option: String) {
    self.init(
      what: "--held-out must be texts that no states are taken on, and \(option) reads the same file",
      place: Shown.input(path), hint: "divide the file in two", code: .usage)
  }

  init(drift least: Double, over limit: Double, on source: String) {
    self.init(
      what: "no pack that was tried drifts less than \(limit) nats; the best of them has \(Format.significant(least))",
      place: Shown.input(source),
      hint: "allow more, or keep more in precision, such as the worst layers with --override")
  }

  init(statesAsModel path: String) {
    self.init(
      what: "`\(path)` holds states for calibration, no model",
      hint: "`ingot inspect \(path)` tells what they are, --check looks at every byte", code: .usage)
  }
}
