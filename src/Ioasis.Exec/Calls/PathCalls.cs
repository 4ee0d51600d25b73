using System.Buffers.Binary;
using System.Text;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>
/// Calls that name a file: below the prefixes of the view they are answered from the tree, and everything else the kernel of the machine
/// does. Opening a node of a device opens it in our kernel.
/// </summary>
internal sealed unsafe class PathCalls : IDisposable
{
    private const int LongestPath = 4096;
    private const ulong KeptFlags = 3 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x20000 | 0x40000 | 0x200000;
    private const uint AnonymousMode = 0x180;

    private readonly ViewTree _tree;
    private readonly int _root;
    private readonly byte[] _rootPath;
    private readonly byte[][] _prefixes;
    private readonly Dictionary<FileIdentity, ViewedNode> _nodes = [];

    public PathCalls(ViewTree tree)
    {
        _tree = tree;
        _rootPath = Encoding.UTF8.GetBytes(tree.Root);
        _root = (int)SystemCalls.Open(tree.Root, SystemCalls.OpenPath | SystemCalls.OpenDirectory | SystemCalls.OpenCloseOnExec);
        _prefixes = [.. tree.Prefixes.Select(Encoding.UTF8.GetBytes)];
        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        foreach (ViewedNode node in tree.Nodes.Values)
        {
            fixed (byte* path = SystemCalls.ToPath(tree.Root + node.Path))
            {
                if (SystemCalls.Stat(SystemCalls.AtFdCwd, path, stat, SystemCalls.AtSymlinkNoFollow) == 0)
                {
                    _nodes[new(*(ulong*)stat, *(ulong*)(stat + 8))] = node;
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ = SystemCalls.Close(_root);

    /// <summary>Number of a node, by its path.</summary>
    public ulong NumberOf(string path) => _tree.Nodes.TryGetValue(path, out ViewedNode? node) ? node.Number : 0;

    /// <summary><c>open</c>, <c>openat</c>, <c>openat2</c>.</summary>
    public Answer Open(in Caller caller, int folder, ulong path, ulong flags)
    {
        Span<byte> name = stackalloc byte[LongestPath];
        Span<byte> whole = name;
        if (!TryFind(caller, folder, path, ref name, out int length))
        {
            return (flags & 3) == 0 ? ProcessStatus.Open(caller, whole[..length], flags) : Answer.Continue;
        }

        fixed (byte* below = name)
        {
            nint found = SystemCalls.OpenBelow(_root, below, (flags & SystemCalls.OpenNoFollow) | SystemCalls.OpenPath | SystemCalls.OpenCloseOnExec, 0);
            if (found < 0)
            {
                return Answer.Of(found);
            }

            bool isNode = _nodes.TryGetValue(Identify((int)found, out _), out ViewedNode? node);
            _ = SystemCalls.Close((int)found);
            if (isNode && (flags & SystemCalls.OpenPath) == 0)
            {
                return (flags & SystemCalls.OpenDirectory) != 0 ? Answer.Of(-20) : OpenNode(caller, node!, flags);
            }

            nint file = SystemCalls.OpenBelow(_root, below, (flags & KeptFlags) | SystemCalls.OpenCloseOnExec, 0);
            if (file < 0)
            {
                return Answer.Of(file);
            }

            return Answer.Of(caller.Give((int)file, (flags & SystemCalls.OpenCloseOnExec) != 0));
        }
    }

    /// <summary><c>stat</c>, <c>lstat</c>, <c>fstat</c>, <c>newfstatat</c>.</summary>
    public Answer Stat(in Caller caller, int folder, ulong path, ulong result, int flags)
    {
        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        Answer? answer = Look(caller, folder, path, flags, stat, null, 0, out ulong number, out uint mode);
        if (answer is { } given)
        {
            return given;
        }

        Span<byte> bytes = new(stat, SystemCalls.SizeOfStat);
        if (mode != 0)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[24..], mode);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[40..], number);
            bytes[48..56].Clear();
            bytes[64..72].Clear();
        }

        return Answer.Of(caller.Write(result, bytes));
    }

    /// <summary><c>statx</c>.</summary>
    public Answer Statx(in Caller caller, int folder, ulong path, int flags, uint mask, ulong result)
    {
        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        byte* statx = stackalloc byte[SystemCalls.SizeOfStatx];
        Answer? answer = Look(caller, folder, path, flags, stat, statx, mask, out ulong number, out uint mode);
        if (answer is { } given)
        {
            return given;
        }

        Span<byte> bytes = new(statx, SystemCalls.SizeOfStatx);
        if (mode != 0)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(bytes[28..], (ushort)mode);
            bytes[40..56].Clear();
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[128..], (uint)(number >> 8) & 0xfff);
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[132..], (uint)((number & 0xff) | ((number >> 12) & 0xfff00)));
        }

        return Answer.Of(caller.Write(result, bytes));
    }

    /// <summary><c>access</c>, <c>faccessat</c>, <c>faccessat2</c>.</summary>
    public Answer Access(in Caller caller, int folder, ulong path, int mode)
    {
        Span<byte> name = stackalloc byte[LongestPath];
        if (!TryFind(caller, folder, path, ref name))
        {
            return Answer.Continue;
        }

        fixed (byte* below = name)
        {
            nint found = SystemCalls.OpenBelow(_root, below, SystemCalls.OpenPath | SystemCalls.OpenCloseOnExec, 0);
            if (found < 0)
            {
                return Answer.Of(found);
            }

            byte empty = 0;
            nint result = SystemCalls.Access((int)found, &empty, mode, SystemCalls.AtEmptyPath);
            _ = SystemCalls.Close((int)found);
            return Answer.Of(result);
        }
    }

    /// <summary>
    /// Calls that make no difference in the view: owners and permissions may be changed, as scripts do that prepare devices, and stay; there are
    /// no extended attributes.
    /// </summary>
    public Answer Touch(in Caller caller, int folder, ulong path, Errno outcome)
    {
        Span<byte> name = stackalloc byte[LongestPath];
        if (!TryFind(caller, folder, path, ref name))
        {
            return Answer.Continue;
        }

        fixed (byte* below = name)
        {
            nint found = SystemCalls.OpenBelow(
                _root, below, SystemCalls.OpenPath | SystemCalls.OpenNoFollow | SystemCalls.OpenCloseOnExec, 0);
            if (found < 0)
            {
                return Answer.Of(found);
            }

            _ = SystemCalls.Close((int)found);
            return Answer.Of(outcome);
        }
    }

    /// <summary><c>readlink</c>, <c>readlinkat</c>.</summary>
    public Answer ReadLink(in Caller caller, int folder, ulong path, ulong result, int size)
    {
        Span<byte> name = stackalloc byte[LongestPath];
        Span<byte> target = stackalloc byte[LongestPath];
        Span<byte> whole = name;
        if (!TryFind(caller, folder, path, ref name))
        {
            return ReadProcessLink(caller, path, result, size, whole, target);
        }

        fixed (byte* below = name)
        {
            nint found = SystemCalls.OpenBelow(
                _root, below, SystemCalls.OpenPath | SystemCalls.OpenNoFollow | SystemCalls.OpenCloseOnExec, 0);
            if (found < 0)
            {
                return Answer.Of(found);
            }

            byte empty = 0;
            nint length = SystemCalls.ReadLink((int)found, &empty, target);
            _ = SystemCalls.Close((int)found);

            // Of a descriptor of something else the kernel says ENOENT, of a path EINVAL.
            return length < 0 ? Answer.Of(Errno.InvalidArgument) : GiveLink(caller, target[..(int)length], result, size);
        }
    }

    /// <summary>Opens a file of our kernel for the program, and answers with its descriptor.</summary>
    private static Answer OpenNode(in Caller caller, ViewedNode node, ulong flags)
    {
        Errno error = caller.FindProcess(out ProgramProcess? process);
        if (error != Errno.Success || !caller.IsValid)
        {
            return Answer.Of(error == Errno.Success ? Errno.NoEntry : error);
        }

        int opened = process!.Kernel.Open(
            node.Path, (OpenFlags)(int)(flags & (3 | (ulong)OpenFlags.NonBlocking | (ulong)OpenFlags.CloseOnExec)));
        if (opened < 0)
        {
            return Answer.Of(opened);
        }

        error = caller.Handles.Add(node.Kind, process.Kernel, opened, node.Path, node.Number, (int)flags, out Handle? handle, out int file);
        if (error != Errno.Success)
        {
            _ = process.Kernel.Close(opened);
            return Answer.Of(error);
        }

        process.Remember(handle!, opened);
        nint given = caller.Give(file, (flags & SystemCalls.OpenCloseOnExec) != 0);
        if (given < 0)
        {
            caller.Handles.Remove(handle!);
        }

        return Answer.Of(given);
    }

    private static FileIdentity Identify(int file, out uint mode)
    {
        byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
        byte empty = 0;
        _ = SystemCalls.Stat(file, &empty, stat, SystemCalls.AtEmptyPath);
        mode = *(uint*)(stat + 24);
        return new(*(ulong*)stat, *(ulong*)(stat + 8));
    }

    // Describes a path of the view, or a descriptor that is ours. The answer is null if the description is there; a mode of 0 leaves it
    // as it is.
    private Answer? Look(
        in Caller caller, int folder, ulong path, int flags, byte* stat, byte* statx, uint mask, out ulong number, out uint mode)
    {
        number = 0;
        mode = 0;
        byte empty = 0;
        if (path == 0 || ((flags & SystemCalls.AtEmptyPath) != 0 && IsEmpty(caller, path)))
        {
            if (caller.FindHandle(folder) is not { } handle || handle.Path < 0 || !caller.IsValid)
            {
                return Answer.Continue;
            }

            (number, mode) = (handle.DeviceNumber, handle.DeviceNumber != 0 ? _tree.Nodes[handle.Node].Mode : AnonymousMode);
            nint described = statx is null
                ? SystemCalls.Stat(handle.Path, &empty, stat, SystemCalls.AtEmptyPath)
                : SystemCalls.Statx(handle.Path, &empty, SystemCalls.AtEmptyPath, mask, statx);
            return described < 0 ? Answer.Of(described) : null;
        }

        Span<byte> name = stackalloc byte[LongestPath];
        if (!TryFind(caller, folder, path, ref name))
        {
            return Answer.Continue;
        }

        fixed (byte* below = name)
        {
            nint found = SystemCalls.OpenBelow(
                _root,
                below,
                SystemCalls.OpenPath | SystemCalls.OpenCloseOnExec
                    | ((flags & SystemCalls.AtSymlinkNoFollow) != 0 ? (ulong)SystemCalls.OpenNoFollow : 0),
                0);
            if (found < 0)
            {
                return Answer.Of(found);
            }

            if (_nodes.TryGetValue(Identify((int)found, out _), out ViewedNode? node))
            {
                (number, mode) = (node.Number, node.Mode);
            }

            nint described = statx is null
                ? SystemCalls.Stat((int)found, &empty, stat, SystemCalls.AtEmptyPath)
                : SystemCalls.Statx((int)found, &empty, SystemCalls.AtEmptyPath, mask, statx);
            _ = SystemCalls.Close((int)found);
            return described < 0 ? Answer.Of(described) : null;
        }
    }

    private static bool IsEmpty(in Caller caller, ulong path)
    {
        byte first = 1;
        return caller.Read(path, new(ref first)) == 1 && first == 0;
    }

    // Links of /proc to descriptors of ours say what Linux would say.
    private Answer ReadProcessLink(in Caller caller, ulong path, ulong result, int size, Span<byte> name, Span<byte> target)
    {
        nint read = caller.Read(path, name);
        int end = read <= 0 ? -1 : name[..(int)read].IndexOf((byte)0);
        if (end < 0 || !name.StartsWith("/proc/"u8))
        {
            return Answer.Continue;
        }

        string text = Encoding.UTF8.GetString(name[6..end]);
        int slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0)
        {
            return Answer.Continue;
        }

        string who = text[..slash] is "self" or "thread-self" ? Number(caller.Thread) : text[..slash];
        fixed (byte* real = SystemCalls.ToPath("/proc/" + who + text[slash..]))
        {
            nint length = SystemCalls.ReadLink(SystemCalls.AtFdCwd, real, target);
            if (length <= 0)
            {
                return Answer.Continue;
            }

            if (IsBelow(target[..(int)length], _rootPath))
            {
                return GiveLink(caller, target[_rootPath.Length..(int)length], result, size);
            }

            byte* stat = stackalloc byte[SystemCalls.SizeOfStat];
            if (caller.Handles.IsEmpty
                || SystemCalls.Stat(SystemCalls.AtFdCwd, real, stat, 0) < 0
                || caller.Handles.Find(new(*(ulong*)stat, *(ulong*)(stat + 8))) is not { } handle)
            {
                return Answer.Continue;
            }

            return GiveLink(caller, Encoding.UTF8.GetBytes(handle.Node), result, size);
        }
    }

    private static string Number(int value) => value.ToString(System.Globalization.CultureInfo.InvariantCulture);

    private static Answer GiveLink(in Caller caller, ReadOnlySpan<byte> target, ulong result, int size)
    {
        if (size <= 0)
        {
            return Answer.Of(Errno.InvalidArgument);
        }

        target = target[..Math.Min(target.Length, size)];
        Errno error = caller.Write(result, target);
        return error == Errno.Success ? Answer.Of(target.Length) : Answer.Of(error);
    }

    private bool TryFind(in Caller caller, int folder, ulong path, ref Span<byte> name) => TryFind(caller, folder, path, ref name, out _);

    // The path of a call if it is below a prefix: without the leading slash, ended by a zero. If it is not, what is known of it, with the slash.
    private bool TryFind(in Caller caller, int folder, ulong path, ref Span<byte> name, out int found)
    {
        found = 0;
        Span<byte> text = stackalloc byte[LongestPath];
        nint read = path == 0 ? 0 : caller.Read(path, text);
        int length = read <= 0 ? -1 : text[..(int)read].IndexOf((byte)0);
        if (length <= 0)
        {
            return false;
        }

        text = text[..length];
        int used = 0;
        if (text[0] != '/')
        {
            nint based = caller.ReadProcLink(folder == SystemCalls.AtFdCwd ? "cwd" : "fd/" + Number(folder), name);
            if (based <= 0 || name[0] != '/')
            {
                return false;
            }

            if (IsBelow(name[..(int)based], _rootPath))
            {
                // A folder of the view, from an earlier open.
                name[_rootPath.Length..(int)based].CopyTo(name);
                based -= _rootPath.Length;
            }

            used = (int)based;
            if (used + length + 2 > name.Length)
            {
                return false;
            }
        }

        used = Append(name, used, text);
        if (HasPrefix(name[..used]))
        {
            // The kernel resolves the rest below the tree, links and ".." too.
        }
        else if (text.IndexOf(".."u8) >= 0)
        {
            used = Collapse(name, used);
            if (!HasPrefix(name[..used]))
            {
                found = used;
                return false;
            }
        }
        else
        {
            found = used;
            return false;
        }

        bool wantsFolder = text[^1] == '/' || text.EndsWith("/."u8);
        if (wantsFolder)
        {
            name[used++] = (byte)'/';
        }

        name[used] = 0;
        name = name[1..];
        return true;
    }

    // Appends a path's parts, each with one slash before it, without those that mean nothing.
    private static int Append(Span<byte> name, int used, ReadOnlySpan<byte> path)
    {
        while (!path.IsEmpty)
        {
            int end = path.IndexOf((byte)'/');
            ReadOnlySpan<byte> part = end < 0 ? path : path[..end];
            path = end < 0 ? [] : path[(end + 1)..];
            if (!part.IsEmpty && !part.SequenceEqual("."u8) && used + part.Length + 3 < name.Length)
            {
                name[used++] = (byte)'/';
                part.CopyTo(name[used..]);
                used += part.Length;
            }
        }

        return used;
    }

    // Takes out ".." with what is before it.
    private static int Collapse(Span<byte> name, int used)
    {
        int length = 0;
        for (int at = 0; at < used;)
        {
            int next = name[(at + 1)..used].IndexOf((byte)'/');
            int end = next < 0 ? used : at + 1 + next;
            if (name[(at + 1)..end].SequenceEqual(".."u8))
            {
                length = Math.Max(0, name[..length].LastIndexOf((byte)'/'));
            }
            else
            {
                name[at..end].CopyTo(name[length..]);
                length += end - at;
            }

            at = end;
        }

        return length;
    }

    private bool HasPrefix(ReadOnlySpan<byte> path)
    {
        if (!path.StartsWith("/sys/"u8) && !path.StartsWith("/dev/"u8))
        {
            return false;
        }

        foreach (byte[] prefix in _prefixes)
        {
            if (IsBelow(path, prefix))
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsBelow(ReadOnlySpan<byte> path, ReadOnlySpan<byte> prefix) =>
        path.StartsWith(prefix) && (path.Length == prefix.Length || path[prefix.Length] == '/');
}
