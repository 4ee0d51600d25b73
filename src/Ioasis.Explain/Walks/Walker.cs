using static System.FormattableString;

namespace Ioasis.Explain.Walks;

/// <summary>What walkers of both architectures share: reading of entries, and the story as it grows.</summary>
internal abstract class Walker(MemoryImage memory, RegisterSnapshot registers, WalkRequest request)
{
    private readonly List<WalkStep> _steps = [];
    private WalkEnd _end;
    private string _conclusion = "";

    /// <summary>The registers.</summary>
    protected RegisterSnapshot Registers => registers;

    /// <summary>What is walked for.</summary>
    protected WalkRequest Request => request;

    /// <summary>Whether the story is at its end.</summary>
    protected bool IsOver => _conclusion.Length > 0;

    /// <summary>Walks.</summary>
    public static WalkStory Walk(MemoryImage memory, RegisterSnapshot registers, WalkRequest request)
    {
        Walker walker = registers.Kind == SnapshotKind.RiscV ? new RiscVWalker(memory, registers, request) : new IntelWalker(memory, registers, request);
        ulong? physical = walker.Go();
        if (physical is { } address && !walker.IsOver)
        {
            walker._end = WalkEnd.Translated;
            walker._conclusion = Invariant($"The tables lead 0x{request.Address:x} to 0x{address:x} and allow the access: what faulted has been mapped since, or a cache was stale.");
        }

        string pasid = request.Pasid is { } number ? Invariant($" with PASID {number}") : "";
        return new(
            Invariant($"{(request.IsWrite ? "write" : "read")} of 0x{request.Address:x} by {RequesterName(request.Requester)}{pasid}"),
            walker._steps, walker._end, walker._end == WalkEnd.Translated ? physical : null, walker._conclusion);
    }

    /// <summary>Walks to the end of the story.</summary>
    /// <returns>Where the address leads, or null.</returns>
    protected abstract ulong? Go();

    /// <summary>Takes a register.</summary>
    protected ulong? Register(string name, string section, Func<ulong, (IReadOnlyList<FaultField> Fields, string Text)> decode, ulong? absent = null)
    {
        if (registers[name] is not { } value)
        {
            if (absent is null)
            {
                Stop(Invariant($"The snapshot has no {name}."));
            }

            return absent;
        }

        (IReadOnlyList<FaultField> fields, string text) = decode(value);
        _steps.Add(new(name, section, null, [value], fields, text, false));
        return value;
    }

    /// <summary>Reads an entry; its step is added when it is decoded.</summary>
    protected bool TryRead(string name, string section, ulong address, int words, out ulong[] value)
    {
        value = new ulong[words];
        for (int i = 0; i < words; i++)
        {
            if (!memory.TryRead64(address + (ulong)(i * 8), out value[i]))
            {
                _steps.Add(new(name, section, address, [], [], "The snapshot of memory has not this address.", false));
                Stop(Invariant($"{name} is at 0x{address:x}, which the snapshot of memory has not: what comes next is not known."));
                return false;
            }
        }

        return true;
    }

    /// <summary>Reads an entry of 4 bytes.</summary>
    protected bool TryRead32(string name, string section, ulong address, out ulong value)
    {
        if (memory.TryRead32(address, out value))
        {
            return true;
        }

        _steps.Add(new(name, section, address, [], [], "The snapshot of memory has not this address.", false));
        Stop(Invariant($"{name} is at 0x{address:x}, which the snapshot of memory has not: what comes next is not known."));
        return false;
    }

    /// <summary>A step that leads on.</summary>
    protected void Pass(string name, string section, ulong? address, IReadOnlyList<ulong> words, IReadOnlyList<FaultField> fields, string text) =>
        _steps.Add(new(name, section, address, words, fields, text, false));

    /// <summary>The step that fails, and the end.</summary>
    protected void Fail(string name, string section, ulong? address, IReadOnlyList<ulong> words, IReadOnlyList<FaultField> fields, string text)
    {
        _steps.Add(new(name, section, address, words, fields, text, true));
        _end = WalkEnd.Faults;
        _conclusion = $"It fails at {name}: {text}";
    }

    /// <summary>The end, for want of knowledge.</summary>
    protected void Stop(string why)
    {
        _end = WalkEnd.Unknown;
        _conclusion = why;
    }

    /// <summary>The end: nothing is translated.</summary>
    protected void PassThrough(string why)
    {
        _end = WalkEnd.Translated;
        _conclusion = why;
    }

    /// <summary>A field.</summary>
    protected static FaultField Field(string name, ulong value) => new(name, Invariant($"0x{value:x}"));

    /// <summary>A field of one bit.</summary>
    protected static FaultField Bit(string name, ulong word, ulong bit) => new(name, (word & bit) != 0 ? "1" : "0");

    /// <summary>A size of a page in words.</summary>
    protected static string SizeName(int log2) => log2 switch
    {
        >= 30 => Invariant($"{1ul << (log2 - 30)} GiB"),
        >= 20 => Invariant($"{1ul << (log2 - 20)} MiB"),
        _ => Invariant($"{1ul << (log2 - 10)} KiB"),
    };

    private static string RequesterName(uint id) =>
        Invariant($"{id >> 16:x4}:{(id >> 8) & 0xff:x2}:{(id >> 3) & 0x1f:x2}.{id & 7}");
}
