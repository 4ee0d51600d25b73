using System.Runtime.InteropServices;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <content>Mistakes with DMA.</content>
internal static partial class Exports
{
    private const uint SanitizeFatal = 1;
    private const uint MistakesAtEnd = 1;

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_sanitize")]
    private static int Sanitize(nint handle, uint flags)
    {
        const string Call = "ioasis_sanitize";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            return scope.Target is not { } platform ? NoPlatform(Call, handle)
                : (flags & ~SanitizeFatal) != 0 ? LastError.Set(Call, new(Errno.InvalidArgument, $"flags 0x{flags:x} are not IOASIS_SANITIZE_FATAL or 0"))
                : platform.TrySanitize(new() { IsFatal = flags == SanitizeFatal }) ? 0
                : LastError.Set(Call, new(Errno.Busy, "descriptors of the platform are open, or it is looked after already"));
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_memory_freed")]
    private static int MemoryFreed(nint handle, nint memory, nuint length)
    {
        const string Call = "ioasis_memory_freed";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (length > 0 && (nuint)memory + (length - 1) < (nuint)memory)
            {
                return LastError.Set(Call, new(Errno.InvalidArgument, $"[0x{memory:x}, +0x{length:x}] goes beyond the end of memory"));
            }

            if (platform.Sanitizer is not { } sanitizer)
            {
                return NotSanitized(Call);
            }

            sanitizer.MarkFreed(memory, length);
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_mistake_count")]
    private static int CountMistakes(nint handle, uint flags)
    {
        const string Call = "ioasis_mistake_count";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if ((flags & ~MistakesAtEnd) != 0)
            {
                return LastError.Set(Call, new(Errno.InvalidArgument, $"flags 0x{flags:x} are not IOASIS_MISTAKES_AT_END or 0"));
            }

            if (platform.Sanitizer is not { } sanitizer)
            {
                return NotSanitized(Call);
            }

            IReadOnlyList<DmaReport> mistakes = flags == MistakesAtEnd ? sanitizer.Finish() : sanitizer.GetReports();
            platform.Mistakes = mistakes;
            return mistakes.Count;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_mistake_describe")]
    private static int DescribeMistake(nint handle, uint index, nint text, nuint length)
    {
        const string Call = "ioasis_mistake_describe";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            IReadOnlyList<DmaReport> mistakes = platform.Mistakes;
            return platform.Sanitizer is null ? NotSanitized(Call)
                : index >= (uint)mistakes.Count ? LastError.Set(Call, new(Errno.NoEntry, $"index {index} is not below the {mistakes.Count} mistakes that were counted last"))
                : GiveText(Call, mistakes[(int)index].ToString(), text, length);
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    private static int NotSanitized(string call) =>
        LastError.Set(call, new(Errno.InvalidArgument, "nothing looks for mistakes: ioasis_sanitize() was not called"));
}
