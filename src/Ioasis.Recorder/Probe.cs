namespace Ioasis.Recorder;

/// <summary>A probe at the entry of a function of the kernel.</summary>
/// <param name="Event">Its event's name, which begins with <c>ioasis_</c> and its role.</param>
/// <param name="Function">The function.</param>
/// <param name="Arguments">What it notes, in the language of kprobe events.</param>
/// <param name="Why">What it is for.</param>
internal sealed record Probe(string Event, string Function, string Arguments, string Why)
{
    private static readonly string[] X86Registers = ["%di", "%si", "%dx", "%cx", "%r8", "%r9"];

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
