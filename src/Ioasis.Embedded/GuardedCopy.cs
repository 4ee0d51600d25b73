using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Ioasis.Embedded;

/// <summary>
/// Copies from and to memory of this process that may not be there, at the speed of memory: a fault ends the copy and not the process. For that it stands
/// before the handlers of SIGSEGV and SIGBUS, to which every fault goes on that is not of these copies. x64 on Linux; elsewhere, and where the
/// system or the program stands in the way, it says no and the caller asks the system to copy.
/// </summary>
/// <remarks>
/// Not used for a thread that blocks one of the signals, nor any more once somebody else has put a handler in its place (<see cref="Recheck"/>), for then a
/// fault would end the process. Takes no lock and does not allocate.
/// </remarks>
internal static unsafe partial class GuardedCopy
{
    private const int Segv = 11;
    private const int Bus = 7;

    // Up to here the garbage collector can wait for the copy; longer ones let it run.
    private const nuint ShortLength = 1024;

    private static readonly byte* s_code = Install();
    private static bool s_isReplaced;

    [ThreadStatic]
    private static ThreadState t_state;

    private enum ThreadState : byte
    {
        Unknown,
        CanFault,
        BlocksSignals,
    }

    /// <summary>Whether copies of this thread are made here.</summary>
    public static bool IsAvailable
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => s_code is not null && !Volatile.Read(ref s_isReplaced) && (t_state == ThreadState.CanFault || LookAtThread());
    }

    /// <summary>Copies, in ascending order. Neither range needs to be there.</summary>
    /// <returns>Whether all was copied; if not, a part may have been.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryCopy(void* destination, void* source, nuint length)
    {
        if (!IsAvailable)
        {
            return false;
        }

        return length <= ShortLength
            ? ((delegate* unmanaged[SuppressGCTransition]<void*, void*, nuint, int>)(s_code + GuardedCopyCode.Copy))(destination, source, length) != 0
            : TryCopyLong(destination, source, length);
    }

    // By itself, so that short copies do not prepare a call that lets the garbage collector run.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool TryCopyLong(void* destination, void* source, nuint length) =>
        ((delegate* unmanaged<void*, void*, nuint, int>)(s_code + GuardedCopyCode.Copy))(destination, source, length) != 0;

    /// <summary>Copies from an address to memory that is there, as <see cref="TryCopy"/>.</summary>
    public static bool TryRead(ulong address, Span<byte> destination)
    {
        fixed (byte* buffer = destination)
        {
            return TryCopy(buffer, (void*)address, (nuint)destination.Length);
        }
    }

    /// <summary>Copies to an address from memory that is there, as <see cref="TryCopy"/>.</summary>
    public static bool TryWrite(ulong address, ReadOnlySpan<byte> source)
    {
        fixed (byte* buffer = source)
        {
            return TryCopy((void*)address, buffer, (nuint)source.Length);
        }
    }

    /// <summary>Replaces 8 bytes if they are what is expected: one atomic operation, a full fence.</summary>
    /// <param name="address">8-byte aligned.</param>
    /// <param name="expected">What must be there.</param>
    /// <param name="desired">What to store.</param>
    /// <param name="observed">What was there.</param>
    /// <returns>Whether it could be done.</returns>
    public static bool TryCompareExchange(ulong* address, ulong expected, ulong desired, out ulong observed)
    {
        ulong seen = 0;
        bool done = IsAvailable && ((delegate* unmanaged[SuppressGCTransition]<ulong*, ulong, ulong, ulong*, int>)(s_code + GuardedCopyCode.Exchange))(
            address, expected, desired, &seen) != 0;
        observed = seen;
        return done;
    }

    /// <summary>Looks whether the handlers are still in place; called when memory is pinned, for later is too late.</summary>
    public static void Recheck()
    {
        if (s_code is not null && !s_isReplaced
            && (HandlerOf(Segv) != s_code + GuardedCopyCode.SegvHandler || HandlerOf(Bus) != s_code + GuardedCopyCode.BusHandler))
        {
            Volatile.Write(ref s_isReplaced, true);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool LookAtThread()
    {
        if (t_state == ThreadState.Unknown)
        {
            ulong* mask = stackalloc ulong[16];
            const ulong Needed = (1ul << (Segv - 1)) | (1ul << (Bus - 1));
            t_state = GetMask(0, null, mask) == 0 && (mask[0] & Needed) == 0 ? ThreadState.CanFault : ThreadState.BlocksSignals;
        }

        return t_state == ThreadState.CanFault;
    }

    private static byte* Install()
    {
        const int ReadWrite = 3;
        const int ReadExecute = 5;
        const int PrivateAnonymous = 0x22;
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return null;
        }

        nuint length = (nuint)Environment.SystemPageSize;
        byte* code = (byte*)Map(null, length, ReadWrite, PrivateAnonymous, -1, 0);
        if (code == (byte*)-1)
        {
            return null;
        }

        SignalAction segv = default;
        SignalAction bus = default;
        GuardedCopyCode.Write(new(code, (int)length), Avx.IsSupported);
        *(ulong*)(code + GuardedCopyCode.HasWide) = Avx.IsSupported ? 1u : 0;
        *(ulong*)(code + GuardedCopyCode.LongestInParts) = HasFastStrings() ? 8191u : ulong.MaxValue;
        if (SetAction(Segv, null, &segv) != 0 || SetAction(Bus, null, &bus) != 0 || !segv.CanFollow || !bus.CanFollow)
        {
            _ = Unmap(code, length);
            return null;
        }

        *(byte**)(code + GuardedCopyCode.NextSegv) = FindNext(code, segv);
        *(byte**)(code + GuardedCopyCode.NextBus) = FindNext(code, bus);
        if (Protect(code, length, ReadExecute) != 0)
        {
            _ = Unmap(code, length);
            return null;
        }

        SignalAction before = segv;
        segv.Place(code + GuardedCopyCode.SegvHandler);
        bus.Place(code + GuardedCopyCode.BusHandler);
        if (SetAction(Segv, &segv, null) == 0 && SetAction(Bus, &bus, null) == 0)
        {
            return code;
        }

        // The code stays: a fault may be on its way through it.
        _ = SetAction(Segv, &before, null);
        return null;
    }

    // ERMS: "enhanced" REP MOVSB, leaf 7 of CPUID. AMD's processors have it too, but there it is no faster than moves of vectors, and five times slower
    // where the destination lies some bytes after the source, modulo 4 KiB (measured on family 19h).
    private static bool HasFastStrings()
    {
        if (!X86Base.IsSupported)
        {
            return false;
        }

        (int leaves, int first, int third, int second) = X86Base.CpuId(0, 0);
        bool isIntel = (first, second, third) == (0x756e_6547, 0x4965_6e69, 0x6c65_746e); // "GenuineIntel"
        return isIntel && leaves >= 7 && (X86Base.CpuId(7, 0).Ebx & (1 << 9)) != 0;
    }

    private static byte* FindNext(byte* code, in SignalAction action) => (nint)action.Handler switch
    {
        0 => code + GuardedCopyCode.DefaultHandler,
        1 => code + GuardedCopyCode.IgnoredHandler,
        _ => action.Handler,
    };

    private static byte* HandlerOf(int signal)
    {
        SignalAction action = default;
        return SetAction(signal, null, &action) == 0 ? action.Handler : null;
    }

    [LibraryImport("libc", EntryPoint = "sigaction")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetAction(int signal, SignalAction* action, SignalAction* before);

    [LibraryImport("libc", EntryPoint = "pthread_sigmask")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int GetMask(int how, ulong* set, ulong* before);

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* Map(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Protect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Unmap(void* address, nuint length);

    // struct sigaction of the C libraries for x64.
    [StructLayout(LayoutKind.Explicit, Size = 152)]
    private struct SignalAction
    {
        private const int WithInformation = 4;
        private const int OnOwnStack = 0x0800_0000;
        private const int ResetAtFirst = unchecked((int)0x8000_0000);

        [FieldOffset(0)]
        public byte* Handler;

        [FieldOffset(136)]
        private int _flags;

        // A handler that is for one signal only would be gone after the first fault of ours.
        public readonly bool CanFollow => (_flags & ResetAtFirst) == 0;

        // With the mask and the flags of the handler that follows, so that it finds what it asked for.
        public void Place(byte* handler)
        {
            _flags |= WithInformation | ((nint)Handler <= 1 ? OnOwnStack : 0);
            Handler = handler;
        }
    }
}
