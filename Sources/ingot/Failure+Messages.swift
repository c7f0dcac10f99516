import Conversion
import Drift
import Inspection
import Kernels
import Models
import Pack
import Patterns
import Safetensors
import Storage
import Tensors
import Text

// Every sentence a person can see when something fails.

extension SafetensorsError {
  /// Whether the file is not what it says it is, rather than something we cannot use.
  fileprivate var isIntegrity: Bool {
    switch reason {
    case .fileTooShort, .headerOutsideFile, .dataOutsideFile, .trailingBytes, .gguf(_, isCut: true): true
    default: false
    }
  }

  fileprivate var isPassing: Bool { if case .system(let cause) = reason { cause.isPassing } else { false } }
}

extension RegexError {
  var text: String { position > 0 ? "\(reason), at character \(position + 1)" : reason }
}

extension Failure {
  /// - Parameter recipe: the recipe file, if there is one.
  init(_ error: ConversionError, output: String, recipe: String? = nil) {
    switch error {
    case .source(let error): self.init(error)
    case .model(let error): self.init(error)
    case .recipe(let error): self.init(error, file: recipe)
    case .pack(let error): self.init(error)
    case .notFinite(let tensor, let row, let column, let path, let byteOffset):
      self.init(
        what: "tensor `\(tensor)` has a weight that is infinite or not a number, at row \(row), column \(column)",
        place: "`\(path)`, byte \(Format.count(byteOffset))",
        hint: "the checkpoint is damaged or was trained to divergence; compare the file with its published hash")
    case .tooLarge(let tensor, let row, let column, let path, let byteOffset):
      self.init(
        what: "tensor `\(tensor)` has a weight too large for a portable scale, at row \(row), column \(column)",
        place: "`\(path)`, byte \(Format.count(byteOffset))",
        hint: "keep this tensor: --override '^\(tensor)$=keep'")
    case .states(let error): self.init(error)
    case .statesNotFinite(let layer, let expert, let column):
      self.init(
        what:
          "what expert \(expert) of layer \(layer) was fed is infinite or no number, or too large to be squared, in "
          + "column \(column)",
        hint: "the states are damaged, or the model is; look at both with `ingot inspect`")
    case .otherModel(let detail):
      self.init(
        what: "the states are of another model: \(detail)",
        hint: "make them of this checkpoint with `ingot calibrate`")
    case .target(let wanted, let least):
      self.init(
        what: "the target of \(wanted) cannot be met: with the least levels for all matrices it is \(least)",
        hint: wanted.hasSuffix("bpw")
          ? "ask for at least that" : "ask for at least that, or quantize more with --rest", code: .usage)
    case .requantizesNothing(let directory):
      self.init(
        what: "--requantize has nothing to do: no matrix is quantized by another tool", place: "`\(directory)`",
        hint: "leave it out", code: .usage)
    case .statesWithoutUse:
      self.init(
        what: "no routed expert would be solved with the states: the recipe keeps them all, or names other solvers",
        hint: "leave the states out, or give experts an encoding such as int4-g64", code: .usage)
    case .noLevel(let tensor, let engine):
      self.init(
        what: "no level of a target holds `\(tensor)`" + (engine.map { " in a form that \($0) serves" } ?? ""),
        hint: engine == nil
          ? "say its encoding with --override, or leave --target out" : "leave out --servable, or --target",
        code: .usage)
    case .targetWithoutUse:
      self.init(
        what: "there is nothing for the target to choose: rules decide all routed experts",
        hint: "leave the target out, or the rules", code: .usage)
    case .engineWithoutFamily(let engine, let modelType):
      self.init(
        what: "\(engine) has no place for models like this one (\(Shown.text(modelType)))",
        hint: "leave out --servable; `ingot export --list` tells which formats hold what", code: .usage)
    case .notServable(let engine, let tensor, let other):
      self.init(
        what: other.map {
          "\(engine) serves `\($0)` and `\(tensor)` in one encoding only, and the rules tell them apart"
        } ?? "\(engine) could not serve `\(tensor)` in the encoding that the rules give it",
        hint: "change the rules, or leave out --servable", code: .usage)
    case .targetWithExperts:
      self.init(
        what: "the recipe says the encoding of experts, which --target chooses",
        hint: "leave `experts` out of the recipe, or leave --target out", code: .usage)
    case .memory(let needed, let limit):
      self.init(
        what: "this conversion needs \(Format.bytes(needed)) of memory, the limit is \(Format.bytes(limit))",
        hint: "raise --max-memory to at least \((needed >> 20) + 1)MiB", code: .limit)
    case .diskSpace(let needed, let free, let path):
      self.init(
        what: "the pack takes \(Format.bytes(needed)), the disk has \(Format.bytes(free)) free", place: "`\(path)`",
        hint: "write to another disk with -o, or free \(Format.bytes(needed - free))", code: .limit)
    case .part(let error): self.init(error)
    case .interrupted:
      self.init(
        what: "interrupted; `\(output)` was not written and no partial file is left", code: Interrupt.status)
    }
  }

  init(_ error: InspectionError) {
    switch error {
    case .source(let error): self.init(error)
    case .pack(let error): self.init(error)
    case .output(let error): self.init(error)
    case .noTensor(let name, let path):
      self.init(
        what: "there is no tensor `\(Shown.text(name))`", place: "`\(path)`",
        hint: "list all names with `ingot inspect --all`")
    case .model(let error): self.init(error)
    case .notDecodable(let tensor, let type, let path):
      self.init(
        what: "tensor `\(Shown.text(tensor))` has type \(type), whose values are not read", place: "`\(path)`",
        hint: "BF16, F16, F32 and the encodings of packs can be read")
    case .interrupted: self.init(what: "interrupted; nothing was written", code: Interrupt.status)
    }
  }

  /// `INGOT_KERNELS` names a set that is not there.
  init(unknownKernels name: String) {
    let names = KernelSet.available.map(\.name).joined(separator: ", ")
    self.init(
      what: "INGOT_KERNELS asks for `\(name)`, which does not exist here", hint: "this machine can run: \(names)",
      code: .usage)
  }

  init(_ error: SafetensorsError) {
    let hint = if case .system(let cause) = error.reason { Self.hint(cause) ?? error.hint } else { error.hint }
    self.init(
      what: error.message, place: String(error.location.dropFirst("in ".count)), hint: hint,
      code: error.isIntegrity ? .integrity : error.isPassing ? .temporary : .failed)
  }

  init(_ error: ModelError) {
    switch error {
    case .source(let error): self.init(error)
    case .pack(let error): self.init(error)
    case .configuration(let key, let detail, let path, let byteOffset):
      self.init(
        what: key.map { "key `\($0)` \(detail)" } ?? "the configuration cannot be read: \(detail)",
        place: "`\(path)`" + (byteOffset.map { ", byte \(Format.count($0))" } ?? ""),
        hint: byteOffset == nil && key != nil
          ? "a key the model needs is never guessed; add it as the model's authors published it" : nil)
    case .otherModel(let key, let detail, let path):
      self.init(
        what: "key `\(key)` \(detail)", place: "`\(path)`",
        hint: "give the config.json of the model that the weights are of")
    case .missingTensor(let name, let directory):
      self.init(
        what: "tensor `\(name)` is missing", place: "`\(directory)`",
        hint: "the download may be incomplete, or config.json may belong to another model")
    case .unknownTensors(let names, let count, let directory):
      let more = count > names.count ? " and \(Format.count(count - names.count)) more" : ""
      self.init(
        what: (count == 1 ? "one tensor has" : "\(Format.count(count)) tensors have")
          + " no place in this architecture: "
          + names.map { "`\($0)`" }.joined(separator: ", ") + more,
        place: "`\(directory)`",
        hint:
          "if the model does without them, pack it with: ingot quantize CHECKPOINT --drop 'REGEX' (with --experts keep the "
          + "pack is the full-precision model, which run and verify take); else compare config.json with the tensors")
    case .dropsNothing(let pattern, let directory):
      self.init(
        what: "--drop '\(pattern)' matches no tensor", place: "`\(directory)`",
        hint: "see names with `ingot inspect --all CHECKPOINT`", code: .usage)
    case .dropsNeeded(let name, let pattern, let directory):
      self.init(
        what: "--drop '\(pattern)' leaves out tensor `\(name)`, which the model needs", place: "`\(directory)`",
        hint: "write the pattern so that it matches only what the model does without", code: .usage)
    case .badTensor(let name, let detail, let path, let byteOffset):
      self.init(
        what: "tensor `\(name)` \(detail)", place: "`\(path)`, header entry at byte \(Format.count(byteOffset))")
    case .packedCode(let tensor, let row, let group, let detail, let path):
      self.init(
        what: "tensor `\(tensor)` has, in row \(row), group \(group), \(detail)", place: "`\(path)`",
        hint: Self.notHeldHint)
    case .notHeld(let name, let detail, let path, let byteOffset):
      self.init(
        what: "tensor `\(name)` \(detail)", place: "`\(path)`, header entry at byte \(Format.count(byteOffset))",
        hint: Self.notHeldHint)
    case .packedShape(let name, let found, let expected, let path):
      self.init(
        what: "tensor `\(name)` has shape \(found), config.json asks for \(expected)", place: "`\(path)`",
        hint: "the pack was not written by `ingot quantize`, or its config.json was replaced")
    case .notFinite(let name, let element, let path):
      self.init(
        what: "tensor `\(name)` has a weight that is infinite or not a number, element \(Format.count(element))",
        place: "`\(path)`",
        hint: "a router, norm or bias that is not finite spoils all that goes through it; compare the file with its "
          + "published hash")
    case .layout(let layer, let detail, let directory):
      self.init(what: "layer \(layer): \(detail)", place: "`\(directory)`")
    case .interrupted: self.init(what: "interrupted", code: Interrupt.status)
    }
  }

  private static let notHeldHint =
    "these codes cannot be taken over as they are; best quantize the checkpoint that they were made from; with `ingot quantize "
    + "--requantize` the numbers that they stand for are quantized anew, and errors add up"

  private init(_ error: RecipeError, file: String?) {
    let place = { (byteOffset: Int) in "`\(file ?? "")`, byte \(Format.count(byteOffset))" }
    switch error {
    case .file(let detail, let byteOffset):
      self.init(what: "the recipe cannot be read: \(detail)", place: place(byteOffset), code: .usage)
    case .option(let detail): self.init(what: detail, code: .usage)
    case .unknownEncoding(let name, let byteOffset):
      let names = Encoding.all.map { "`\($0)`" }.joined(separator: ", ")
      self.init(
        what: "unknown encoding `\(name)`", place: byteOffset.map(place), hint: "known are `keep`, \(names)",
        code: .usage)
    case .pattern(let pattern, let error, let number):
      self.init(
        what: "recipe rule \(number) `\(pattern)` cannot be used: \(error.text)", hint: Self.patternHint, code: .usage)
    case .drop(let pattern, let error):
      self.init(what: "--drop '\(pattern)' cannot be used: \(error.text)", hint: Self.patternHint, code: .usage)
    case .matchesNothing(let pattern, let number, let protectedMatches):
      self.init(
        what: protectedMatches > 0
          ? "recipe rule \(number) `\(pattern)` matches only what is always kept: router, norms, biases, what is passed through"
          : "recipe rule \(number) `\(pattern)` matches no tensor",
        hint: "see names with `ingot inspect --all CHECKPOINT`, or mark the rule \"optional\" in a recipe file",
        code: .usage)
    case .groupSize(let tensor, let columns, let encoding, let decidedBy):
      let fitting = encoding.kind.encodings.filter { $0.divides(columns: columns) }
      let advice =
        fitting.isEmpty
        ? "no group size divides \(columns): --override '^\(tensor)$=keep'"
        : "use a group size that divides \(columns): "
          + fitting.map(\.description).joined(separator: ", ")
          + "; for some tensors only with --override 'REGEX=ENCODING'"
      self.init(
        what: "\(decidedBy) asks for group size \(encoding.groupSize), but `\(tensor)` has \(columns) columns",
        hint: advice, code: .usage)
    case .solver(let name, let tensor, let decidedBy, let hasStates):
      self.init(
        what: "\(decidedBy) asks for solver `\(name)` for `\(tensor)`, which needs states that "
          + (hasStates ? "only routed experts have" : "were not given"),
        hint: hasStates ? "leave out `solver` in that rule" : "give them with --calibration FILE", code: .usage)
    case .isQuantized(let tensor, let encoding, let decidedBy):
      self.init(
        what: "\(decidedBy) asks to quantize `\(tensor)`, which is \(encoding) already",
        hint:
          "what is quantized is taken as it is, so that errors do not add up: leave this out, quantize the checkpoint in full "
          + "precision, or with --requantize the numbers that its codes stand for", code: .usage)
    case .converts(let tensor, let from, let to, let decidedBy):
      self.init(
        what: "\(decidedBy) asks for `\(to)`, but `\(tensor)` is \(from)",
        hint: "plain tensors are kept as they are: use `keep`, or a quantized encoding", code: .usage)
    }
  }

  static let patternHint = "Formats/recipe.md lists what a regular expression may hold"

  init(_ error: GateError) {
    self.init(
      what: "the gate `\(error.expression)` cannot be used: \(error.reason)",
      hint:
        "a gate tells when it fails, as in --gate '\(GateError.example)'; --gate default is a set of them",
      code: .usage
    )
  }

  init(_ error: PackError) {
    switch error {
    case .system(let error): self.init(error)
    case .broken(let violation, let path): self.init(violation, path: path)
    case .notFound(let name, let path):
      self.init(what: "there is no `\(name)`", place: "`\(path)`", hint: "list all names with `ingot inspect --all`")
    case .unknownEncoding(let id, let groupSize, let tensor, let path):
      self.init(
        what: "tensor `\(tensor)` has encoding \(id) with group size \(groupSize), which this version does not know",
        place: "`\(path)`", hint: "a newer ingot wrote it; update to decode it")
    case .limit(let detail): self.init(what: "the pack would break a limit of the format: \(detail)")
    case .diskSpace(let needed, let free, let path):
      self.init(
        what: "the new file takes \(Format.bytes(needed)), the disk has \(Format.bytes(free)) free", place: "`\(path)`",
        hint: "the pack is as it was; free \(Format.bytes(needed - free)), then attach the report again", code: .limit)
    case .replaced(let path):
      self.init(
        what: "the pack was changed or replaced meanwhile", place: "`\(path)`",
        hint: "the report is about the pack that was there before; nothing was attached, and the new one is untouched")
    case .interrupted: self.init(what: "interrupted; the pack is as it was", code: Interrupt.status)
    }
  }

  init(_ violation: PackViolation, path: String) {
    var place = "`\(path)`"
    if let subject = violation.subject { place += ", \(subject)" }
    if let range = violation.byteRange {
      place += ", bytes \(Format.count(range.lowerBound)) to \(Format.count(range.upperBound))"
    }
    let isCut = violation.rule == .fileLength || violation.rule == .length
    switch violation.rule {
    case .magic:
      self.init(
        what: "this is no ingot pack", place: place,
        hint: "name a pack that `ingot quantize` wrote, or the directory of a checkpoint, not a file in it",
        code: .failed)
    case .readVersion, .requiredFeatures:
      self.init(what: violation.detail, place: place, hint: "a newer ingot wrote it; update to read it")
    default:
      self.init(
        what: "rule \(violation.rule.rawValue) is broken: \(violation.detail)", place: place,
        hint: isCut
          ? "the copy is probably incomplete; copy it again"
          : "the file was changed; copy it again, then run `ingot inspect --check`",
        code: .integrity)
    }
  }
}
