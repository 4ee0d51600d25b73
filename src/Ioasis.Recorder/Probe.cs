namespace Ioasis.Recorder;

/// <summary>A probe at the entry of a function of the kernel, or directly behind what tracing has there.</summary>
/// <param name="Event">Its event's name, which begins with <c>ioasis_</c> and its role.</param>
/// <param name="Function">The function.</param>
/// <param name="Arguments">What it notes, in the language of kprobe events.</param>
/// <param name="Why">What it is for.</param>
internal sealed record Probe(string Event, string Function, string Arguments, string Why)
{
    /// <summary>What tells where on its stack the function was called, on x86.</summary>
    private const string X86Stack = "sp=%sp:x64";

    private static readonly string[] X86Registers = ["%di", "%si", "%dx", "%cx", "%r8", "%r9"];

    /// <summary>
    /// Whether its function calls, or is called by, another one that is probed: which call is in which is told by their stack
    /// pointers, for a breakpoint's event does not say whether an interrupt came to it.
    /// </summary>
    public bool Nests { get; init; }

    /// <summary>The same probe with the stack pointer in its event, where that is needed and known.</summary>
    public Probe WithStack(string architecture) =>
        Nests && architecture is "x86_64" ? this with { Arguments = $"{Arguments} {X86Stack}".TrimStart() } : this;

    /// <summary>The line that sets it.</summary>
    /// <param name="group">The group of probes.</param>
    /// <param name="place">The function, with its module if it is in one.</param>
    public string Definition(string group, string place) => $"p:{group}/{Event} {place} {Arguments}".TrimEnd();

    /// <summary>The same probe for a kernel that does not know <c>$arg1</c> (before 4.20, and where it was not built in); null for an architecture that is not known here.</summary>
    public Probe? WithRegisters(string architecture)
    {
        string arguments = Arguments;
        for (int i = 0; i < X86Registers.Length; i++)
        {
            string? register = architecture switch
            {
                "x86_64" => X86Registers[i],
                "aarch64" => $"%x{i}",
                "riscv64" => $"%a{i}",
                _ => null,
            };
            if (register is null)
            {
                return null;
            }

            arguments = arguments.Replace($"$arg{i + 1}", register, StringComparison.Ordinal);
        }

        return this with { Arguments = arguments };
    }
}
