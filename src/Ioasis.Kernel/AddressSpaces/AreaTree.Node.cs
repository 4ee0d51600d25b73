using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Ioasis.Kernel;

/// <content>A node: an array for each thing that is kept of an entry, so that a search touches only what it compares.</content>
internal sealed partial class AreaTree<T>
{
    private sealed class Node(bool isLeaf)
    {
        public readonly ulong[] Starts = new ulong[Fanout];

        // Behind the last entry, what is below no address.
        public readonly ulong[] Lasts = NewLasts();

        // Of inner nodes; the rooms are those of the children, all of a group (HoleRoom) after those of the one before.
        public readonly Vector256<ulong>[]? Rooms = isLeaf ? null : new Vector256<ulong>[HoleRoom.Groups * Fanout];
        public readonly Node[]? Children = isLeaf ? null : new Node[Fanout];

        // Of leaves.
        public readonly T?[]? Values = isLeaf ? new T?[Fanout] : null;

        public int Count;

        // The largest rooms of the holes inside the node, which do not count those before its first and after its last byte.
        public readonly Vector256<ulong>[] Room = new Vector256<ulong>[HoleRoom.Groups];

        // How many groups of Room and Rooms are kept: those that a search for a hole has asked for, and the ones before.
        public int Groups;

        // How many end below the address: all are compared, for a search by halves guesses wrong every other time.
        public int FirstWithLastAtLeast(ulong address)
        {
            ref ulong lasts = ref MemoryMarshal.GetArrayDataReference(Lasts);
            Vector256<ulong> wanted = Vector256.Create(address);
            Vector256<ulong> below = default;
            for (int i = 0; i < Count; i += Vector256<ulong>.Count)
            {
                // True is -1.
                below -= Vector256.LessThan(Vector256.LoadUnsafe(ref lasts, (nuint)i), wanted);
            }

            return (int)Vector256.Sum(below);
        }

        public void Insert(int index, ulong start, ulong last, T value)
        {
            Shift(index);
            Values.AsSpan(index, Count - index).CopyTo(Values.AsSpan(index + 1));
            Starts[index] = start;
            Lasts[index] = last;
            Values![index] = value;
            Count++;
            for (int group = 0; group < Groups; group++)
            {
                Vector256<ulong> before = index > 0 && index + 1 < Count
                    ? HoleRoom.Of(group, Lasts[index - 1] + 1, Starts[index + 1])
                    : default;
                Adjust(group, before, HolesAround(group, index));
            }
        }

        public void Insert(int index, Node child)
        {
            Shift(index);
            Array.Copy(Children!, index, Children!, index + 1, Count - index);
            Children![index] = child;
            MoveRooms(index, index + 1);
            Count++;
            SetLimits(index);
            for (int group = 0; group < Groups; group++)
            {
                RoomOf(group, index) = child.Room[group];
            }

            UpdateRoom();
        }

        public void RemoveAt(int index)
        {
            if (Children is not null)
            {
                MoveRooms(index + 1, index);
                RemoveEntry(index);
                UpdateRoom();
                return;
            }

            ulong start = Starts[index];
            ulong last = Lasts[index];
            RemoveEntry(index);
            for (int group = 0; group < Groups; group++)
            {
                Adjust(group, HolesAround(group, start, last, index - 1, index), HoleBefore(group, index));
            }
        }

        public void Append(Node source, int from)
        {
            int count = source.Count - from;
            Array.Copy(source.Starts, from, Starts, Count, count);
            Array.Copy(source.Lasts, from, Lasts, Count, count);
            if (Children is null)
            {
                Array.Copy(source.Values!, from, Values!, Count, count);
            }
            else
            {
                Array.Copy(source.Children!, from, Children, Count, count);
                for (int group = 0; group < Groups; group++)
                {
                    Array.Copy(source.Rooms!, (group * Fanout) + from, Rooms!, (group * Fanout) + Count, count);
                }
            }

            Count += count;
            UpdateRoom();
        }

        public void Truncate(int count)
        {
            Lasts.AsSpan(count, Count - count).Fill(ulong.MaxValue);
            if (Children is null)
            {
                Array.Clear(Values!, count, Count - count);
            }
            else
            {
                Array.Clear(Children, count, Count - count);
            }

            Count = count;
            UpdateRoom();
        }

        // Keeps so many groups of rooms from now on, here and below.
        public void LearnRoom(int groups)
        {
            Groups = groups;
            for (int i = 0; Children is not null && i < Count; i++)
            {
                Children[i].LearnRoom(groups);
                for (int group = 0; group < groups; group++)
                {
                    RoomOf(group, i) = Children[i].Room[group];
                }
            }

            UpdateRoom();
        }

        // Takes over what has changed of a child: its first byte, its last, what its holes can hold.
        public void Refresh(int index)
        {
            ulong start = Starts[index];
            ulong last = Lasts[index];
            SetLimits(index);
            bool isMoved = start != Starts[index] || last != Lasts[index];
            for (int group = 0; group < Groups; group++)
            {
                Vector256<ulong> room = Children![index].Room[group];
                ref Vector256<ulong> known = ref RoomOf(group, index);
                if (isMoved || known != room)
                {
                    Vector256<ulong> before = Vector256.Max(known, HolesAround(group, start, last, index - 1, index + 1));
                    known = room;
                    Adjust(group, before, Vector256.Max(room, HolesAround(group, index)));
                }
            }
        }

        public Vector256<ulong> ComputeRoom(int group) => ComputeRoom(group, default, Vector256<ulong>.AllBitsSet);

        // The room of a child.
        public ref Vector256<ulong> RoomOf(int group, int index) => ref Rooms![(group * Fanout) + index];

        private void UpdateRoom()
        {
            for (int group = 0; group < Groups; group++)
            {
                Room[group] = ComputeRoom(group);
            }
        }

        private Vector256<ulong> HoleBefore(int group, int index) =>
            index > 0 && index < Count ? HoleRoom.Of(group, Lasts[index - 1] + 1, Starts[index]) : default;

        private Vector256<ulong> HolesAround(int group, int index) =>
            HolesAround(group, Starts[index], Lasts[index], index - 1, index + 1);

        // The holes between a range and its neighbours, which may be none.
        private Vector256<ulong> HolesAround(int group, ulong start, ulong last, int previous, int next)
        {
            Vector256<ulong> room = previous >= 0 ? HoleRoom.Of(group, Lasts[previous] + 1, start) : default;
            return next < Count ? Vector256.Max(room, HoleRoom.Of(group, last + 1, Starts[next])) : room;
        }

        // Some holes gave way to others. Only where one of them was the largest, the largest has to be looked for.
        private void Adjust(int group, Vector256<ulong> before, Vector256<ulong> after)
        {
            ref Vector256<ulong> room = ref Room[group];
            Vector256<ulong> lost = Vector256.Equals(before, room) & Vector256.LessThan(after, before);
            Vector256<ulong> limit = Vector256.Max(room, after);
            room = lost == default ? limit : ComputeRoom(group, Vector256.ConditionalSelect(lost, after, limit), limit);
        }

        // The largest of what is known and of all holes. None is larger than the limit: it is often met early, for holes are often alike.
        private Vector256<ulong> ComputeRoom(int group, Vector256<ulong> known, Vector256<ulong> limit)
        {
            if (Children is not null)
            {
                foreach (Vector256<ulong> room in Rooms.AsSpan(group * Fanout, Count))
                {
                    known = Vector256.Max(known, room);
                }
            }

            for (int i = 1; i < Count && known != limit; i++)
            {
                known = Vector256.Max(known, HoleRoom.Of(group, Lasts[i - 1] + 1, Starts[i]));
            }

            return known;
        }

        private void RemoveEntry(int index)
        {
            Count--;
            Starts.AsSpan(index + 1, Count - index).CopyTo(Starts.AsSpan(index));
            Lasts.AsSpan(index + 1, Count - index).CopyTo(Lasts.AsSpan(index));
            Lasts[Count] = ulong.MaxValue;
            if (Children is null)
            {
                Values.AsSpan(index + 1, Count - index).CopyTo(Values.AsSpan(index));
                Values![Count] = null;
            }
            else
            {
                Array.Copy(Children, index + 1, Children, index, Count - index);
                Children[Count] = null!;
            }
        }

        // Those of the entries from one on, before the count changes.
        private void MoveRooms(int from, int to)
        {
            for (int group = 0; group < Groups; group++)
            {
                Array.Copy(Rooms!, (group * Fanout) + from, Rooms!, (group * Fanout) + to, Count - from);
            }
        }

        private void SetLimits(int index)
        {
            Node child = Children![index];
            Starts[index] = child.Starts[0];
            Lasts[index] = child.Lasts[child.Count - 1];
        }

        private void Shift(int index)
        {
            Starts.AsSpan(index, Count - index).CopyTo(Starts.AsSpan(index + 1));
            Lasts.AsSpan(index, Count - index).CopyTo(Lasts.AsSpan(index + 1));
        }

        private static ulong[] NewLasts()
        {
            ulong[] lasts = new ulong[Fanout];
            Array.Fill(lasts, ulong.MaxValue);
            return lasts;
        }
    }
}
