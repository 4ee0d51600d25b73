using System.Collections.Frozen;
using System.Reflection;
using System.Reflection.Emit;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>
/// Counts what a clock cannot: whether the number of steps of a method depends on how much there is. A method that neither jumps back nor
/// calls itself, nor calls anything of this repository that does, takes the same steps however many entries a table has.
/// </summary>
internal static class Loops
{
    private static readonly FrozenDictionary<short, OpCode> s_codes = typeof(OpCodes)
        .GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(static field => (OpCode)field.GetValue(null)!)
        .ToFrozenDictionary(static code => code.Value);

    /// <summary>What a method, or one that it calls, does again and again; calls into other assemblies are taken for one step, but for LINQ.</summary>
    /// <param name="method">The method.</param>
    /// <param name="allowed">Full names of methods (type and method) whose loops do not count: their reason is the caller's to tell.</param>
    public static IReadOnlyList<string> Of(MethodBase method, params IReadOnlyCollection<string> allowed)
    {
        ArgumentNullException.ThrowIfNull(method);
        List<string> found = [];
        Walk(method, [], [], allowed, found);
        return found;
    }

    /// <summary>Type and method, as <see cref="Of"/> names it.</summary>
    public static string NameOf(MethodBase method)
    {
        ArgumentNullException.ThrowIfNull(method);
        return $"{method.DeclaringType?.Name}.{method.Name}";
    }

    private static void Walk(
        MethodBase method, HashSet<MethodBase> path, HashSet<MethodBase> done, IReadOnlyCollection<string> allowed, List<string> found)
    {
        string name = NameOf(method);
        if (allowed.Contains(name) || done.Contains(method))
        {
            return;
        }

        if (!path.Add(method))
        {
            found.Add($"{name} calls itself");
            return;
        }

        if (method.DeclaringType?.Namespace?.StartsWith("System.Linq", StringComparison.Ordinal) == true)
        {
            found.Add($"{name} goes through a sequence");
        }
        else if (method.Module.Assembly.GetName().Name?.StartsWith("Ioasis.", StringComparison.Ordinal) == true
            && method.GetMethodBody() is { } body)
        {
            byte[] code = body.GetILAsByteArray()!;
            for (int at = 0; at < code.Length;)
            {
                int start = at;
                OpCode operation = Read(code, ref at);
                int operand = at;
                at += SizeOf(operation, code, at);
                foreach (int target in TargetsOf(operation, code, operand, at))
                {
                    if (target <= start)
                    {
                        found.Add($"{name} jumps back");
                    }
                }

                if (operation.OperandType == OperandType.InlineMethod && Resolve(method, BitConverter.ToInt32(code, operand)) is { } called)
                {
                    Walk(called, path, done, allowed, found);
                }
            }
        }

        _ = path.Remove(method);
        _ = done.Add(method);
    }

    private static OpCode Read(byte[] code, ref int at)
    {
        // Two bytes behind 0xfe (ECMA-335, III.1.2.1).
        short value = code[at] == 0xfe ? unchecked((short)(0xfe00 | code[at + 1])) : code[at];
        at += code[at] == 0xfe ? 2 : 1;
        return s_codes[value];
    }

    private static int SizeOf(OpCode operation, byte[] code, int operand) => operation.OperandType switch
    {
        OperandType.InlineNone => 0,
        OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
        OperandType.InlineVar => 2,
        OperandType.InlineI8 or OperandType.InlineR => 8,
        OperandType.InlineSwitch => 4 + (4 * BitConverter.ToInt32(code, operand)),
        _ => 4,
    };

    private static IEnumerable<int> TargetsOf(OpCode operation, byte[] code, int operand, int next)
    {
        switch (operation.OperandType)
        {
            case OperandType.ShortInlineBrTarget:
                yield return next + (sbyte)code[operand];
                break;
            case OperandType.InlineBrTarget:
                yield return next + BitConverter.ToInt32(code, operand);
                break;
            case OperandType.InlineSwitch:
                for (int i = 0; i < BitConverter.ToInt32(code, operand); i++)
                {
                    yield return next + BitConverter.ToInt32(code, operand + 4 + (4 * i));
                }

                break;
        }
    }

    private static MethodBase? Resolve(MethodBase caller, int token)
    {
        Type[]? ofType = caller.DeclaringType is { IsGenericType: true } type ? type.GetGenericArguments() : null;
        Type[]? ofMethod = caller.IsGenericMethod ? caller.GetGenericArguments() : null;
        return caller.Module.ResolveMethod(token, ofType, ofMethod);
    }
}
